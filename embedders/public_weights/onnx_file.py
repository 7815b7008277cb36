"""Weights from an ONNX file. Its protocol buffers are read by hand: weights need few fields, and the onnx package none.

By onnx/onnx.proto, ModelProto.graph is field 7 and GraphProto.initializer is field 5; a TensorProto has dims in field
1, data_type in 2, float_data in 4, name in 8 and raw_data in 9.
"""

import numpy as np

from ...errors import UserError

_GRAPH, _INITIALIZER = 7, 5
_DTYPES = {1: "<f4", 7: "<i8", 10: "<f2", 11: "<f8"}


def read(path: str) -> dict[str, np.ndarray]:
    """The initialisers of the graph of an ONNX model.

    Args:
      path: the .onnx file.

    Returns:
      Name -> array, in the file's dtype (float32, float16, float64 or int64).

    Raises:
      UserError: the file is damaged, or keeps a tensor in another file or in an unknown type.

    Example:
      >>> from geodesic.embedders.public_weights import onnx_file
      >>> initializer = bytes([8, 1, 16, 1, 66, 1, 98, 74, 4, 0, 0, 128, 63])   # dims 1, type 1, name "b", raw 1.0
      >>> graph = bytes([42, len(initializer)]) + initializer
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "model.onnx")
      ...     _ = path.write_bytes(bytes([58, len(graph)]) + graph)
      ...     onnx_file.read(str(path))
      {'b': array([1.], dtype=float32)}
    """
    with open(path, "rb") as file:
        content = memoryview(file.read())
    try:
        graphs = [value for field, value in _fields(content) if field == _GRAPH]
        tensors = [value for graph in graphs for field, value in _fields(graph) if field == _INITIALIZER]
        return dict(_tensor(tensor) for tensor in tensors)
    except (IndexError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged, or is no ONNX file with its weights inside: {error}") from error


def _fields(message: memoryview):
    """Yields (field number, value) of a message's fields, where a value is a number or bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        match key & 7:
            case 0:
                value, position = _varint(message, position)
            case 1 | 5 as wire:
                size = 8 if wire == 1 else 4
                value, position = message[position:position + size], position + size
            case 2:
                length, position = _varint(message, position)
                value, position = message[position:position + length], position + length
                if len(value) != length:
                    raise UserError("it is cut off")
            case wire:
                raise UserError(f"wire type {wire}")
        yield key >> 3, value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
        if shift > 63:
            raise UserError("a number without end")


def _tensor(message: memoryview) -> tuple[str, np.ndarray]:
    shape, kind, name, data = [], 0, "", b""
    for field, value in _fields(message):
        match field:
            case 1:  # packed or one by one
                shape += [value] if isinstance(value, int) else _packed(value)
            case 2:
                kind = value
            case 4 | 9:
                data = bytes(value)
            case 8:
                name = bytes(value).decode()
            case 14 if value:
                raise UserError(f"{name or 'a tensor'} lies in another file")
    if kind not in _DTYPES:
        raise UserError(f"{name} is of ONNX type {kind}; known: {', '.join(map(str, _DTYPES))}")
    return name, np.frombuffer(data, _DTYPES[kind]).reshape(shape)


def _packed(value: memoryview) -> list[int]:
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers
