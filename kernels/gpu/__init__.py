"""CUDA kernels: the functions of the CPU, compiled for teams of 32 lanes.

Importing this package needs numba-cuda (the extra ``cuda``), but no driver and no card.
"""
