"""Reads pickles of bytes, lists, tuples, strings, numbers, booleans and NumPy arrays; refuses every other one.

A pickle is a program. This machine has only the instructions that such data needs, builds arrays itself, and keeps
the memo in a dictionary: the C machine allocates as many entries as a damaged byte asks for.
"""

import io
import math
import pickle
import pickletools
import sys
from typing import ClassVar

import numpy as np

from ...errors import UserError

_INSTRUCTIONS = ("PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 BINFLOAT "
                 "STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE "
                 "SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST APPEND APPENDS LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
                 "GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD").split()


def load(content: bytes):
    """Reads a pickle of bytes, lists, tuples, strings, numbers, booleans and NumPy arrays.

    Raises UserError for anything else, and for damage.

    Example:
        >>> load(pickle.dumps([b"image", True]))
        [b'image', True]
    """
    try:
        return _settled(_Machine(io.BytesIO(content), encoding="bytes").load())
    except Exception as error:  # a damaged program fails in any way
        raise UserError(f"no pickle of plain data: {type(error).__name__}: {error}") from error


class _Array:
    """Stands for an array until its state is known."""

    value: np.ndarray = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        self.fill(data, dtype, shape, "F" if fortran else "C")

    def fill(self, data, dtype, shape, order):
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array of objects")
        values = np.frombuffer(data, dtype.kind)
        if math.prod(shape) != values.size:
            raise pickle.UnpicklingError(f"{values.size} values for an array of {shape}")
        self.value = values.reshape(shape, order=order)


class _Dtype:
    """Stands for a dtype; only plain numbers and booleans have one."""

    def __init__(self, kind, *_):
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind not in ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
            raise pickle.UnpicklingError(f"dtype {kind!r}")
        self.kind = np.dtype(kind)

    def __setstate__(self, state):
        if state[1] in (">", b">"):
            self.kind = self.kind.newbyteorder(">")


def _scalar(dtype, data):
    return np.frombuffer(data, dtype.kind)[0]


def _encode(text, encoding):
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


def _reconstruct(*_):
    return _Array()


def _frombuffer(data, dtype, shape, order, *_):
    array = _Array()
    array.fill(data, dtype, shape, order)
    return array


_GLOBALS = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): _Array, ("_codecs", "encode"): _encode}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _GLOBALS |= {(_module, "_reconstruct"): _reconstruct, (_module, "scalar"): _scalar}
    _GLOBALS |= {(_module.replace("multiarray", "numeric"), "_frombuffer"): _frombuffer}


class _Machine(pickle._Unpickler):
    dispatch: ClassVar = {ord(op.code): pickle._Unpickler.dispatch[ord(op.code)]
                          for op in pickletools.opcodes if op.name in _INSTRUCTIONS}

    def load_bytearray(self):
        """Reads before it allocates: a damaged length may be any number."""
        length = int.from_bytes(self.read(8), "little")
        content = self.read(min(length, sys.maxsize))
        if len(content) != length:
            raise EOFError
        self.append(content)

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray

    def find_class(self, module, name):
        if (module, name) not in _GLOBALS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _GLOBALS[module, name]


def _settled(value):
    """Puts the arrays in place of what stood for them."""
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("an array without values")
        return value.value
    if isinstance(value, list | tuple):
        return type(value)([_settled(item) for item in value])
    if value is not None and not isinstance(value, bytes | str | int | float | bool | np.generic):
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")
    return value
