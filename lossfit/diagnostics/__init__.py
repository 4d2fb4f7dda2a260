"""What this installation can do: its state, its speed, whether a GPU gives what the CPU gives."""
