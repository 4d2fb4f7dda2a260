"""Forecasts of a known future: cases, scores, and intervals calibrated on them."""
