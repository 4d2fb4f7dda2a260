"""Posterior draws of one law's parameters for many runs: `fit` and its result."""
