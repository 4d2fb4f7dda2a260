"""The bridge to `lossfit.kernels`: devices, draws that stay on a GPU, compiling."""
