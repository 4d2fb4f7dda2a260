"""CUDA kernels: the functions of the CPU, compiled for teams of 32 lanes.

Kernels need numba-cuda (the extra ``cuda``) to be built, but no driver and no GPU; `device`,
`chunks` and `launch` need neither.
"""
