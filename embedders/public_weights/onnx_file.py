"""Weights from an ONNX file. Its protocol buffers are read by hand: weights need few fields, and the onnx package none.

By onnx/onnx.proto, ModelProto.graph is field 7 and ModelProto.metadata_props 14, each with key in 1 and value in 2.
GraphProto.node is field 1 and GraphProto.initializer 5; a NodeProto has input in field 1, name in 3 and op_type in 4, a
TensorProto dims in 1, data_type in 2, float_data in 4, name in 8 and raw_data in 9.
"""

from typing import NamedTuple

import numpy as np

from ...errors import UserError

_GRAPH, _NOTES, _NODE, _INITIALIZER = 7, 14, 1, 5
_DTYPES = {1: "<f4", 7: "<i8", 10: "<f2", 11: "<f8"}
_EIGHT_BITS = (2, 3)


class Node(NamedTuple):
    """kind: of the operator, such as Conv. inputs: names of arrays, of the graph's or of other nodes' results."""

    kind: str
    name: str
    inputs: list[str]


class Model(NamedTuple):
    """arrays: name -> array, the graph's initialisers. nodes: in their order. notes: what the file says of itself."""

    arrays: dict[str, np.ndarray]
    nodes: list[Node]
    notes: dict[str, str]


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
    return read_model(path).arrays


def read_model(path: str) -> Model:
    """An ONNX model: its initialisers, and which node takes which.

    Args:
      path: the .onnx file.

    Returns:
      A `Model`, its arrays as of `read`.

    Raises:
      As `read`.

    Example:
      >>> from geodesic.embedders.public_weights import onnx_file
      >>> node = bytes([10, 1, 120, 26, 1, 110, 34, 4]) + b"Relu"                   # input "x", name "n"
      >>> note = bytes([10, 1, 107, 18, 1, 118])                                    # key "k", value "v"
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "model.onnx")
      ...     _ = path.write_bytes(bytes([58, len(node) + 2, 10, len(node)]) + node + bytes([114, len(note)]) + note)
      ...     onnx_file.read_model(str(path))
      Model(arrays={}, nodes=[Node(kind='Relu', name='n', inputs=['x'])], notes={'k': 'v'})
    """
    with open(path, "rb") as file:
        content = memoryview(file.read())
    try:
        whole = [*_fields(content)]
        parts = [part for field, graph in whole if field == _GRAPH for part in _fields(graph)]
        notes = [dict(_fields(note)) for field, note in whole if field == _NOTES]
        return Model(dict(_tensor(part) for field, part in parts if field == _INITIALIZER),
                     [_node(part) for field, part in parts if field == _NODE],
                     {bytes(note[1]).decode(): bytes(note[2]).decode() for note in notes if {1, 2} <= {*note}})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
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
                    raise ValueError("it is cut off")
            case wire:
                raise ValueError(f"wire type {wire}")
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
            raise ValueError("a number without end")


def _node(message: memoryview) -> Node:
    kind, name, inputs = "", "", []
    for field, value in _fields(message):
        match field:
            case 1:
                inputs.append(bytes(value).decode())
            case 3:
                name = bytes(value).decode()
            case 4:
                kind = bytes(value).decode()
    return Node(kind, name, inputs)


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
    if kind in _EIGHT_BITS:
        raise UserError(f"{name} is in eight bits: give the model before it was quantised")
    if kind not in _DTYPES:
        raise UserError(f"{name} is of ONNX type {kind}; known: {', '.join(map(str, _DTYPES))}")
    return name, np.frombuffer(data, _DTYPES[kind]).reshape(shape)


def _packed(value: memoryview) -> list[int]:
    numbers, position = [], 0
    while position < len(value):
        number, position = _varint(value, position)
        numbers.append(number)
    return numbers
