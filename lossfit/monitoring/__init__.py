"""Runs that are still training: `watch`."""
