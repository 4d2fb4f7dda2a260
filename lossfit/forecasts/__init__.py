"""Forecasts: what is known of a run's learning rate, and the laws that answer, mixed."""
