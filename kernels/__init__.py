"""Kernels of lossfit: flat arrays in, flat arrays out; nothing here knows of runs, files or pandas."""
