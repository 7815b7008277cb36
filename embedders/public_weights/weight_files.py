"""Files of public weights, read without the frameworks that wrote them."""

import contextlib
import json
import os
import pathlib
import re
import zipfile

import numpy as np

from ...errors import UserError
from . import containers, onnx_file, torch_file


def read(path: str, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a file of weights. Reading runs no code that the file brings: what is no tensor is refused.

    Args:
      path: a file of safetensors, NumPy (.npz), PyTorch or ONNX, whatever it is called; or a .json whose shards lie
        beside it: the index of sharded safetensors or PyTorch weights, or a layers model of TensorFlow.js.
      prefix: takes the tensors below it alone, and takes it off their names: `containers.choose`.

    Returns:
      Name -> array, as the file has them; bfloat16 becomes float32.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: the file is damaged, or holds something else, or nothing below the prefix.

    Example:
      >>> import pathlib, tempfile, numpy as np
      >>> from geodesic.embedders.public_weights import weight_files
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "weights.npz")
      ...     np.savez(path, **{"conv1.weight": np.ones(2, np.float32)})
      ...     weight_files.read(str(path))
      {'conv1.weight': array([1., 1.], dtype=float32)}
    """
    return containers.choose(read_all(path), prefix).tensors


def read_all(path: str) -> dict[str, dict[str, np.ndarray]]:
    """All tensors of a file of weights, by the container that they lie in.

    Args:
      path: as of `read`.

    Returns:
      Container ("" for the file itself) -> name -> array.

    Raises:
      As `read`.

    Example:
      >>> import pathlib, tempfile, numpy as np
      >>> from geodesic.embedders.public_weights import weight_files
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     np.savez(pathlib.Path(folder, "weights.npz"), **{"conv1.weight": np.ones(2, np.float32)})
      ...     weight_files.read_all(str(pathlib.Path(folder, "weights.npz")))
      {'': {'conv1.weight': array([1., 1.], dtype=float32)}}
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no file {path!r}: expected weights, one of {', '.join(_READERS)}")
    shard = re.search(r"-\d+-of-0*([2-9]|[1-9]\d+)\.\w+$", path)
    if shard:
        raise UserError(f"{path} is one of {shard[1]} shards, a part of the weights: give their index, such as "
                        f"model.safetensors.index.json, that lies beside them")
    try:
        found = containers.collect(_reader(path)(path))
    except (KeyError, IndexError, TypeError, AttributeError) as error:  # of entries that are not what they should be
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if not found:
        raise UserError(f"{path} holds no tensor")
    return found


def shards(path: str) -> list[str]:
    """The names of the files beside a file of weights in which its tensors lie; [] where it holds them itself.

    Example:
      >>> import pathlib, tempfile
      >>> from geodesic.embedders.public_weights import weight_files
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "model.safetensors.index.json")
      ...     _ = path.write_text('{"weight_map": {"a": "model-00002-of-00002.safetensors"}}')
      ...     weight_files.shards(str(path))
      ['model-00002-of-00002.safetensors']
    """
    content = _read_json(path) if _reader(path) is _read_sharded else {}
    names = [*content.get("weight_map", {}).values(),
             *(name for group in content.get("weightsManifest", []) for name in group["paths"])]
    return sorted({pathlib.PurePosixPath(name).name for name in names})


def is_onnx(path: str) -> bool:
    """Whether this is a file that is read as ONNX, whatever it is called; a file that is not there is none.

    Example:
      >>> from geodesic.embedders.public_weights import weight_files
      >>> weight_files.is_onnx("nowhere/model.onnx")
      False
    """
    return os.path.isfile(path) and _reader(path) is onnx_file.read


def _reader(path: str):
    """The function that reads this file: by its content, and where that says nothing, by its extension."""
    with open(path, "rb") as file:
        head = file.read(16)
    extension = pathlib.Path(path).suffix.lower()
    with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:  # zipfile raises many kinds
        if archive.namelist():
            return _read_npz if any(name.endswith(".npy") for name in archive.namelist()) else torch_file.read
    if head[:4] == b"PK\3\4":
        raise UserError(f"{path} is damaged: it begins as an archive, and is cut off or has another end")
    if head[:1] == b"\x80":
        return torch_file.read
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= os.path.getsize(path):
        return _read_safetensors
    if head.lstrip()[:1] == b"{":
        return _read_sharded
    if head[:1] == b"\x08" and extension not in _READERS:
        return onnx_file.read
    if extension not in _READERS:
        raise UserError(f"{path}: cannot read {extension or 'a file without extension'}; known: {', '.join(_READERS)}")
    return _READERS[extension]


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    """Reads huggingface's format: an eight-byte length, a JSON header of that length, then the tensors' bytes."""
    dtypes = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
              "I8": "i1", "U8": "u1", "BOOL": "?"}
    with open(path, "rb") as file:
        content = file.read()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise UserError(f"{path} is no .safetensors file, or is cut off: its header of {length} bytes is not there")
    try:
        header = json.loads(content[8:8 + length])
    except ValueError as error:
        raise UserError(f"{path} is no .safetensors file: its header is not JSON") from error
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in dtypes:
            raise UserError(f"{path}: {name} is of type {entry['dtype']}; known: {', '.join(dtypes)}")
        start, stop = entry["data_offsets"]
        tensors[name] = _array(content[8 + length + start:8 + length + stop], dtypes[entry["dtype"]], entry["shape"],
                               f"{path}: {name}", bfloat16=entry["dtype"] == "BF16")
    return tensors


def _array(data: bytes | memoryview, dtype: str, shape: list[int], what: str, bfloat16: bool = False) -> np.ndarray:
    expected = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if len(data) != expected:
        raise UserError(f"{what} has {len(data)} bytes; its shape {tuple(shape)} needs {expected}: "
                        f"the file is damaged")
    values = np.frombuffer(data, dtype).reshape(shape)
    return torch_file.from_bfloat16(values) if bfloat16 else values


def _read_npz(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # a bad zip, a bad checksum, a pickled object: each raises its own kind
        raise UserError(f"{path} is damaged, or is no .npz file of plain arrays: {error}") from error


def _read_json(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except ValueError as error:
        raise UserError(f"{path} is damaged, or is no JSON: {error}") from error
    return content if isinstance(content, dict) else {}


def _read_sharded(path: str) -> dict[str, np.ndarray]:
    """Reads what a .json keeps in files beside it."""
    content = _read_json(path)
    if "weightsManifest" in content:
        return _read_tfjs(path, content["weightsManifest"])
    if "weight_map" not in content:
        raise UserError(f"{path} has no weightsManifest and no weight_map: expected a model.json of TensorFlow.js, or "
                        f"the index of sharded weights")
    tensors = {}
    for name in shards(path):
        shard = os.path.join(os.path.dirname(path), name)
        if not os.path.isfile(shard):
            raise FileNotFoundError(f"no file {shard!r}: {path} says that weights lie in it")
        reader = _reader(shard)
        tensors |= reader(shard) if reader is not _read_sharded else {}
    missing = [name for name in content["weight_map"] if not isinstance(tensors.get(name), np.ndarray)]
    if missing:
        raise UserError(f"{path} says that {missing[0]} and {len(missing) - 1} other tensors lie beside it, and they "
                        f"do not: its shards are of other weights")
    return {name: tensors[name] for name in content["weight_map"]}


def _read_tfjs(path: str, manifest: list) -> dict[str, np.ndarray]:
    """Reads a layers model of TensorFlow.js: float32 tensors under Keras's names, in shards beside the .json."""
    tensors = {}
    for group in manifest:
        folder = pathlib.Path(path).parent
        shards = [(folder / pathlib.PurePosixPath(shard).name).read_bytes() for shard in group["paths"]]
        data = memoryview(b"".join(shards))
        for entry in group["weights"]:
            if entry["dtype"] != "float32" or "quantization" in entry:
                raise UserError(f"{path}: {entry['name']} is {entry['dtype']}, perhaps quantised: "
                                f"only float32 is read")
            size = 4 * int(np.prod(entry["shape"], dtype=np.int64))
            tensors[entry["name"]] = _array(data[:size], "<f4", entry["shape"], f"{path}: {entry['name']}")
            data = data[size:]
    return tensors


_READERS = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".pth": torch_file.read,
    ".pt": torch_file.read,
    ".onnx": onnx_file.read,
    ".json": _read_sharded,
}
