"""What this installation can do: speed."""
