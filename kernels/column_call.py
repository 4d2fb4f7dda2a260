"""The call of a law's column in compiled code; see `column_code`."""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

__all__ = ["call_column"]


@intrinsic
def call_column(typingctx, address, mode, n, lanes, x, log_x, theta, stride, out):
    """Call the C function of a column at that address.

    Parameters
    ----------
    address : int64
    mode : int64
        0: ``out[p * lanes + j] = column(x[p], theta[:, j])``;
        1: ``out[p] = column(x[p], theta[:, 0])``.
    n, lanes : int64
        Numbers of points and of parameter values.
    x, log_x, theta, out : pointers (``array.ctypes``) to float64
        ``theta[k * stride + j]`` is nonlinear parameter k of lane j; it always has 4 rows.
    """
    signature = types.void(address, mode, n, lanes, x, log_x, theta, stride, out)

    def codegen(context, builder, sig, args):
        from llvmlite import ir

        double_p = ir.IntType(8).as_pointer()
        i64 = ir.IntType(64)
        function_type = ir.FunctionType(
            ir.VoidType(), [i64, i64, i64, double_p, double_p, double_p, i64, double_p]
        )
        pointer = builder.inttoptr(args[0], function_type.as_pointer())
        data = [
            context.make_array(t)(context, builder, value=v).data
            if isinstance(t, types.Array)
            else v
            for t, v in zip(sig.args, args, strict=True)
        ]
        arrays = [builder.bitcast(data[i], double_p) for i in (4, 5, 6, 8)]
        builder.call(
            pointer,
            [data[1], data[2], data[3], arrays[0], arrays[1], arrays[2], data[7], arrays[3]],
        )
        return context.get_dummy_value()

    return signature, codegen
