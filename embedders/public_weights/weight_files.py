"""Files of public weights, read without the frameworks that wrote them."""

import json
import os
import pathlib

import numpy as np

from ...errors import UserError
from . import onnx_file, torch_file


def read(path: str) -> dict[str, np.ndarray]:
    """The tensors of a file of weights. Reading runs no code that the file brings: what is no tensor is refused.

    Args:
      path: a .safetensors, .npz, .pth, .pt or .onnx file, or the model.json of a TensorFlow.js layers model, whose
        shards lie beside it.

    Returns:
      Name -> array, as the file has them; bfloat16 becomes float32.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: the extension is another, or the file is damaged or holds something else.

    Example:
      >>> import pathlib, tempfile, numpy as np
      >>> from geodesic.embedders.public_weights import weight_files
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "weights.npz")
      ...     np.savez(path, **{"conv1.weight": np.ones(2, np.float32)})
      ...     weight_files.read(str(path))
      {'conv1.weight': array([1., 1.], dtype=float32)}
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no file {path!r}: expected weights, one of {', '.join(_READERS)}")
    extension = pathlib.Path(path).suffix.lower()
    if extension not in _READERS:
        raise UserError(f"{path}: cannot read {extension or 'a file without extension'}; known: {', '.join(_READERS)}")
    tensors = _READERS[extension](path)
    if not tensors:
        raise UserError(f"{path} holds no tensor")
    return tensors


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


def _read_tfjs(path: str) -> dict[str, np.ndarray]:
    """Reads a layers model of TensorFlow.js: float32 tensors under Keras's names, in shards beside the .json."""
    with open(path) as file:
        manifest = json.load(file).get("weightsManifest")
    if manifest is None:
        raise UserError(f"{path} has no weightsManifest: expected a model.json of TensorFlow.js")
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
    ".json": _read_tfjs,
}
