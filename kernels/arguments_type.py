"""Numba's view of the table of `arguments`: named tuples that are read from memory.

Passed by value, a named tuple of forty arrays is hundreds of numbers for every call, and most of
the time that compiling takes.  Here it is one address; a field is loaded where it is used.  The
table does not change during a call, which the loads say: so loops keep them in registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import typeof
from numba.core import cgutils, types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
)
from numba.np.arrayobj import make_array, populate_array

__all__ = ["TABLE", "reader", "status_of"]

WORD = ir.IntType(64)
TABLE = types.CPointer(types.int64)


class FieldsType(types.Type):  # type: ignore[misc]
    """A named tuple in the table."""

    def __init__(self, name: str, fields: tuple[tuple[str, Any], ...]) -> None:
        self.fields = dict(fields)
        self.places = {}
        place = 0
        for field, kind in fields:
            self.places[field] = place
            place += words_of(kind)
        self.words = place
        super().__init__(f"{name}{fields}")


register_model(FieldsType)(models.OpaqueModel)


@infer_getattr
class _Fields(AttributeTemplate):  # type: ignore[misc]
    key = FieldsType

    def generic_resolve(self, value: Any, name: str) -> Any:  # type: ignore[override]
        return value.fields.get(name)


@lower_getattr_generic(FieldsType)
def _field(context, builder, kind, value, name):  # type: ignore[no-untyped-def]
    table = builder.bitcast(value, WORD.as_pointer())
    return _value(context, builder, kind.fields[name], table, kind.places[name])


def words_of(kind: Any) -> int:
    """Words of a value in the table."""
    if isinstance(kind, types.Array):
        return 1 + int(kind.ndim)
    return int(kind.words) if isinstance(kind, FieldsType) else 1


def type_of(value: Any) -> Any:
    """Numba's type of an argument, as it is read from the table."""
    if isinstance(value, np.ndarray):
        return types.Array(typeof(value).dtype, value.ndim, "C")
    if isinstance(value, tuple):
        names = type(value)._fields  # type: ignore[attr-defined]
        parts = tuple((n, type_of(v)) for n, v in zip(names, value, strict=True))
        return FieldsType(type(value).__name__, parts)
    return types.float64 if isinstance(value, (float, np.floating)) else types.int64


def reader(values: Any) -> Any:
    """An intrinsic that gives the arguments, read from a table like that of these values."""
    kinds = [type_of(value) for value in values]

    def read(typingctx, table):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            parts = []
            place = 0
            for kind in kinds:
                parts.append(_value(context, builder, kind, args[0], place))
                place += words_of(kind)
            return context.make_tuple(builder, signature.return_type, parts)

        return types.Tuple(kinds)(table), codegen

    return intrinsic(read)


def status_of(function: Any) -> Any:
    """An intrinsic that calls a function of a table; 0, or another number where it raised."""

    def call(typingctx, table):  # type: ignore[no-untyped-def]
        function.compile((TABLE,))
        compiled = function.overloads[(TABLE,)]

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            context.active_code_library.add_linking_library(compiled.library)
            status, _ = context.call_internal_no_propagate(
                builder, compiled.fndesc, compiled.signature, args
            )
            return builder.zext(status.is_error, ir.IntType(32))

        return types.int32(table), codegen

    return intrinsic(call)


def _value(context: Any, builder: Any, kind: Any, table: Any, place: int) -> Any:
    if isinstance(kind, FieldsType):
        return builder.bitcast(_at(builder, table, place), cgutils.voidptr_t)
    if not isinstance(kind, types.Array):
        word = _load(builder, table, place)
        return builder.bitcast(word, ir.DoubleType()) if kind == types.float64 else word
    array = make_array(kind)(context, builder)
    size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    shape = [_load(builder, table, place + 1 + i) for i in range(kind.ndim)]
    strides = [ir.Constant(WORD, size)]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length, flags=["nsw"]))
    populate_array(
        array,
        data=builder.inttoptr(_load(builder, table, place), array.data.type),
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=ir.Constant(WORD, size),
        meminfo=None,
    )
    return array._getvalue()


def _at(builder: Any, table: Any, place: int) -> Any:
    return builder.gep(table, [ir.Constant(WORD, place)], inbounds=True)


def _load(builder: Any, table: Any, place: int) -> Any:
    word = builder.load(_at(builder, table, place))
    word.set_metadata("invariant.load", builder.module.add_metadata([]))
    return word
