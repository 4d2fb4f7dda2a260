"""What users ask of a run's future: `extrapolate`, `what_if`, `best_tail`, and the answers."""
