"""Weights from PyTorch's .pth and .pt files, through an unpickler that gives tensors and nothing else.

A pickle is a program that may import and call anything. Here it may name a few things of PyTorch's
(`_Unpickler.find_class`), each of which is answered by a stand-in of this module, and what `passed_over` knows, which
is answered by one that does nothing: nothing is imported, and nothing that the file names is called.
"""

import collections
import io
import pickle
import pickletools
import zipfile

import numpy as np

from ...errors import UserError
from . import passed_over

_STORAGES = {"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
             "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1",
             "ByteStorage": "u1", "BoolStorage": "?"}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class RefusedError(UserError):
    """The file asks for something that is not a tensor. `read` turns this into a message that names the file."""


class _Storage:
    """The bytes of a storage, as one flat array."""

    __slots__ = ("bfloat16", "values")

    def __init__(self, values: np.ndarray, bfloat16: bool):
        self.values, self.bfloat16 = values, bfloat16


class _StorageType:
    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name


class _Rebuild:
    """Stands for torch._utils._rebuild_tensor_v2 or _rebuild_parameter.

    Each mention gets an object of its own, so that a file cannot change one that others use.
    """

    __slots__ = ("parameter",)

    def __init__(self, parameter: bool):
        self.parameter = parameter

    def __call__(self, first, *rest):
        return first if self.parameter else _tensor(first, *rest)


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: io.BytesIO, storage):
        super().__init__(data, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str):
        match module, name:
            case "collections", "OrderedDict":
                return collections.OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return _Rebuild(parameter=False)
            case "torch._utils", "_rebuild_parameter":
                return _Rebuild(parameter=True)
            case "torch", storage if storage in _STORAGES:
                return _StorageType(storage)
            case "torch", "Size":
                return tuple
        if passed_over.knows(module, name):
            return passed_over.Nothing
        raise RefusedError(f"the file asks for {module}.{name}, which is no tensor")

    def persistent_load(self, reference):
        if not (isinstance(reference, tuple) and len(reference) >= 5 and reference[0] == "storage"
                and isinstance(reference[1], _StorageType)):
            raise RefusedError(f"the file refers to {reference!r}, which is no storage")
        return self._storage(reference[1].name, str(reference[2]), reference[4])


def _load(data: io.BytesIO, storage):
    """The object of the pickle that begins where `data` stands, which then stands behind it.

    Raises RefusedError where it counts its parts wrongly: C's unpickler allocates as much as a damaged byte asks for.
    """
    start = data.tell()
    for place, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > place:
            raise RefusedError(f"its part {place} is numbered {argument}")
    data.seek(start)
    return _Unpickler(data, storage).load()


def from_bfloat16(values: np.ndarray) -> np.ndarray:
    """bfloat16 numbers, given as u2 by their bits, as float32; they are the upper half of a float32.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import torch_file
      >>> torch_file.from_bfloat16(np.array([0x3F80, 0xC000], np.uint16))
      array([ 1., -2.], dtype=float32)
    """
    return (values.astype("<u4") << 16).view("<f4")


def read(path: str) -> dict:
    """What torch.save has written: a state dict, or a dictionary of training state with one or several in it.

    Args:
      path: a .pth or .pt file, of today's zip format or of that before PyTorch 1.6.

    Returns:
      The dictionary; its tensors are arrays in the file's dtype, bfloat16 becomes float32. Numbers, text and stand-ins
      for what `passed_over` knows may lie beside them.

    Raises:
      UserError: the file is damaged, or holds or asks for anything but these.

    Example:
      >>> import pathlib, pickle, tempfile
      >>> from geodesic.embedders.public_weights import torch_file
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "evil.pth")
      ...     _ = path.write_bytes(pickle.dumps(print))
      ...     torch_file.read(str(path))
      Traceback (most recent call last):
      geodesic.errors.UserError: ...evil.pth was not read: the file asks for builtins.print, which is no tensor. ...
    """
    try:
        loaded = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except RefusedError as error:
        raise UserError(f"{path} was not read: {error}. Only tensors in dictionaries, and options beside them, are "
                        f"admitted: where the file comes from, save the weights alone, such as with "
                        f"torch.save(model.state_dict(), ...)") from error
    except Exception as error:  # pickle raises nearly anything for damaged input
        raise UserError(f"{path} is damaged, or is no file of PyTorch's: {type(error).__name__}: {error}") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path} holds a {type(loaded).__name__}, not a dictionary of tensors")
    return loaded


def _read_zip(path: str):
    with zipfile.ZipFile(path) as archive:
        pickled = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
        if pickled is None:
            raise RefusedError("it has no data.pkl (a TorchScript program, perhaps)")
        folder, known = pickled.removesuffix("data.pkl"), {}

        def storage(kind: str, key: str, count: int) -> _Storage:
            if key not in known:
                known[key] = np.frombuffer(archive.read(f"{folder}data/{key}"), _STORAGES[kind])
            return _Storage(known[key], kind == "BFloat16Storage")

        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise RefusedError("it is of a big-endian machine")
        return _load(io.BytesIO(archive.read(pickled)), storage)


def _read_legacy(path: str):
    """Reads a file from before PyTorch 1.6: pickles of magic, protocol, machine, object and keys, then the storages,
    each as its count and its bytes.
    """
    with open(path, "rb") as file:
        data = io.BytesIO(file.read())
    refuse = lambda *_: _refuse_storage()
    if _load(data, refuse) != _LEGACY_MAGIC:
        raise RefusedError("it does not begin as PyTorch's files do")
    for _ in ("protocol", "machine"):
        _load(data, refuse)
    storages = {}

    def storage(kind: str, key: str, count: int) -> _Storage:
        if not isinstance(count, int) or not 0 <= count * np.dtype(_STORAGES[kind]).itemsize <= len(data.getbuffer()):
            raise RefusedError(f"storage {key} is said to have {count} elements, more than the file")
        if key not in storages:
            storages[key] = _Storage(np.zeros(count, _STORAGES[kind]), kind == "BFloat16Storage")
        return storages[key]

    loaded = _load(data, storage)
    for key in _load(data, refuse):
        values = storages[str(key)].values
        if int.from_bytes(data.read(8), "little") != len(values):
            raise RefusedError(f"storage {key} has another length than its tensors say")
        # Tensors are views of these values, so they fill where they lie.
        values[:] = np.frombuffer(data.read(values.nbytes), values.dtype)
    return loaded


def _refuse_storage():
    raise RefusedError("a storage is mentioned before the tensors")


def _tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple, *_) -> np.ndarray:
    """The tensor as a view of its storage. Raises RefusedError where it would reach past the storage's end."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides) or not all(
            isinstance(n, int) and n >= 0 for n in numbers):
        raise RefusedError(f"a tensor of offset {offset}, shape {shape}, strides {strides}")
    values = storage.values
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= len(values):
        raise RefusedError(f"a tensor reaches element {last} of a storage of {len(values)}")
    view = np.lib.stride_tricks.as_strided(values[offset:], shape, [stride * values.itemsize for stride in strides],
                                           writeable=False)
    return from_bfloat16(np.ascontiguousarray(view)) if storage.bfloat16 else view
