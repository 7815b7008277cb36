"""Arrays of a train state as a few objects of a bucket, where orbax's files would be thousands and need a rename.

    checkpoints/<step>/parts/<process>-<number>    rows of arrays, one after the other, 32 MiB or so
    checkpoints/<step>/manifest.json               where each piece lies, and a SHA-256 of each object; written last

Each process writes what its devices hold, and reads what its devices need, on any number of them. What it reads is
proven before it is used.
"""

import hashlib
import math

import jax
import numpy as np

from geodesic.experiments.checkpoints import digests, seal
from geodesic.experiments.process import hosts, storage

# Below what either library sends in one request: a part of it is never there.
_SIZE = 32 << 20


def write(folder: str, process: int, held: dict[str, digests.Part]) -> dict:
    """{"files": name -> [bytes, SHA-256], "pieces": array -> [[place of its first row, file, offset, bytes], ...]}, of
    this process's part of every array, which is in the bucket when this returns. Raises OSError.
    """
    packs, pieces, size = [[]], {}, 0
    for name, part in held.items():
        for first, values in part.pieces:
            for start, rows in filter(lambda one: one[1].nbytes, _slices(values)):
                if size and size + rows.nbytes > _SIZE:
                    packs.append([])
                    size = 0
                pieces.setdefault(name, []).append([first + start, _name(process, len(packs) - 1), size, rows.nbytes])
                packs[-1].append(rows)
                size += rows.nbytes

    def send(number: int) -> tuple[str, list]:
        content = b"".join(np.ascontiguousarray(rows).tobytes() for rows in packs[number])
        storage.write(f"{folder}/{_name(process, number)}", content)
        return _name(process, number), [len(content), hashlib.sha256(content).hexdigest()]

    return {"files": dict(storage.each(send, list(range(len(packs))))), "pieces": pieces}


def read(folder: str, record: dict, wanted: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """Rows start to stop of each wanted array, in order; rows past those that are stored are zero.

    Raises seal.DamagedError, naming the array, where an object is not what the manifest says, and storage.LostError.
    """
    arrays, by_file = {}, {}
    for name, (start, stop) in wanted.items():
        shape, dtype = record["arrays"][name]
        arrays[name] = np.zeros((stop - start, *shape[1:]), jax.numpy.dtype(dtype))
        for piece in record["pieces"].get(name, ()):
            by_file.setdefault(piece[1], []).append((name, piece))
    near = lambda name, first, rows: first < wanted[name][1] and first + rows > wanted[name][0]

    def fetch(file: str) -> None:
        inside = [(name, first, offset, size) for name, (first, _, offset, size) in by_file[file]
                  if near(name, first, _rows(record, name, size))]
        if not inside:
            return
        content = _proven(folder, record, file, inside[0][0])
        for name, first, offset, size in inside:
            (start, stop), values = wanted[name], arrays[name]
            rows = np.frombuffer(content, values.dtype, size // values.dtype.itemsize, offset)
            rows = rows.reshape(-1, *values.shape[1:])
            low, high = max(first, start), min(first + len(rows), stop)
            values[low - start:high - start] = rows[low - first:high - first]

    storage.each(fetch, sorted(by_file))
    return arrays


def read_whole(folder: str, record: dict, names: list[str]) -> dict[str, np.ndarray]:
    """These arrays, as they were stored. Raises as `read` does."""
    shapes = {name: tuple(record["arrays"][name][0]) for name in names}
    values = read(folder, record, {name: (0, shape[0] if shape else 1) for name, shape in shapes.items()})
    return {name: values[name].reshape(shapes[name]) for name in names}


def restore(folder: str, record: dict, abstract_state):
    """The state, placed as `abstract_state` says. All processes call it. Raises as `read` does, on all of them."""
    leaves = {digests.name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(abstract_state)}
    wanted, values, problem = {name: _needed(leaf) for name, leaf in leaves.items()}, {}, None
    try:
        values = read(folder, record, wanted)
    except seal.DamagedError as error:
        problem = error
    if hosts.add(np.asarray([problem is not None], np.uint64))[0]:
        raise problem or seal.DamagedError("an object that another process reads has changed")

    def place(path, leaf):
        name = digests.name_of(path)
        start, rows = wanted[name][0], values.pop(name).reshape(-1, *leaf.shape[1:])
        if getattr(leaf, "sharding", None) is None:
            return jax.numpy.asarray(rows.reshape(leaf.shape))

        def of_device(index: tuple[slice, ...]) -> np.ndarray:
            if not index:
                return rows.reshape(())
            first, stop, _ = index[0].indices(leaf.shape[0])
            return rows[first - start:stop - start, *index[1:]]

        return jax.make_array_from_callback(leaf.shape, leaf.sharding, of_device)

    return jax.tree_util.tree_map_with_path(place, abstract_state)


def _name(process: int, number: int) -> str:
    return f"parts/{process}-{number:05}"


def _slices(values: np.ndarray):
    """(place of the first row, rows) of an array, in slices that fit into an object."""
    if not values.ndim or values.nbytes <= _SIZE:
        return [(0, values)]
    rows = max(_SIZE // (values.nbytes // len(values)), 1)
    return [(start, values[start:start + rows]) for start in range(0, len(values), rows)]


def _rows(record: dict, name: str, size: int) -> int:
    shape, dtype = record["arrays"][name]
    row = math.prod(shape[1:]) * jax.numpy.dtype(dtype).itemsize
    return size // row if row else 0


def _proven(folder: str, record: dict, file: str, array: str) -> bytes:
    """The content of an object. array: one that lies in it."""
    try:
        content = storage.read(f"{folder}/{file}")
    except FileNotFoundError as error:
        raise seal.DamagedError(f"{file} is missing; array {array}", (file,)) from error
    if [len(content), hashlib.sha256(content).hexdigest()] != record["files"][file]:
        raise seal.DamagedError(f"{file} has changed; array {array}", (file,))
    return content


def _needed(leaf) -> tuple[int, int]:
    """The rows of an array that this process's devices hold."""
    if not leaf.shape:
        return 0, 1
    if getattr(leaf, "sharding", None) is None:
        return 0, leaf.shape[0]
    indices = leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
    held = [index[0].indices(leaf.shape[0]) for index in indices]
    return min(start for start, _, _ in held), max(stop for _, stop, _ in held)
