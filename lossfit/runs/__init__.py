"""Training runs: from rows of logs to clean columns on any axis, and what is known of them."""
