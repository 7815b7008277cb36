"""What a checkpoint's manifest knows of its arrays: their names, shapes, types and digests."""

import jax
import numpy as np
import tensorstore
from flax import traverse_util

from geodesic import losses
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import digests, plain_path, seal


def record(state, num_classes: int | None) -> dict:
    """Of a state that is about to be saved, without its digests. num_classes: rows past it, of arrays split by class,
    are padding.
    """
    arrays = {name: [list(shape), dtype] for name, (shape, dtype) in _kinds(state).items()}
    return {"num_classes": num_classes, "arrays": arrays}


def check(record: dict, state) -> None:
    """Raises DamagedError, with the names, where restored arrays are not those that were saved."""
    found = digests.of(state, record["num_classes"])
    names = [name for name, value in record["digests"].items() if found.get(name) != value]
    if names:
        raise seal.DamagedError(f"array {_first_of(names)} came back with other bits than were saved")


def check_read(record: dict, arrays: dict[str, np.ndarray]) -> None:
    """Raises DamagedError, with the names, where arrays that `read` gave are not those that were saved."""
    found = digests.local(traverse_util.unflatten_dict(arrays, sep="/"), record["num_classes"])
    names = [name for name in arrays if found[name] != record["digests"][name]]
    if names:
        raise seal.DamagedError(f"array {_first_of(names)} came back with other bits than were saved")


def damaged(folder: str, record: dict | None) -> str:
    """The names of the arrays in orbax's `folder` that are not what the manifest says, or cannot be read."""
    if record is None:
        return ""
    names = []
    for name, expected in record["digests"].items():
        try:
            nested = traverse_util.unflatten_dict(read(folder, [name]), sep="/")
            changed = digests.local(nested, record["num_classes"])[name] != expected
        except Exception:  # whatever tensorstore says of what is not its own any more
            changed = True
        names += [name] if changed else []
    return f"; array {_first_of(names)}" if names else ""


def check_model(record: dict, abstract_state, what: str) -> None:
    """Raises UserError unless these are the arrays of this model. Padding of the class axis follows the devices."""
    stored = {name: (tuple(shape), dtype) for name, (shape, dtype) in record["arrays"].items()}
    wanted, classes = _kinds(abstract_state), record["num_classes"]
    by_class = {digests.name_of(path) for path, leaf in jax.tree_util.tree_leaves_with_path(abstract_state)
                if classes and losses.is_by_class(path, leaf)}
    differing = [name for name in sorted({*stored, *wanted}) if stored.get(name) != wanted.get(name)
                 and not (name in by_class and name in stored
                          and _same_but_padding(stored[name], wanted[name], classes))]
    if differing:
        name = differing[0]
        raise UserError(f"{what} is of another model: {name} is {_kind(stored.get(name))} there and "
                        f"{_kind(wanted.get(name))} here ({len(differing)} of {len(wanted)} arrays differ). Use the "
                        f"configuration it was trained with")


def read(folder: str, names: list[str]) -> dict[str, np.ndarray]:
    """These arrays of orbax's `folder`, as they were stored, by name. (orbax itself reads all arrays or none.)"""
    context = tensorstore.Context()  # one cache of the folder's database for all of them
    with plain_path.of(folder) as plain:
        opened = [tensorstore.open(_spec(plain, name), context=context, open=True, read=True) for name in names]
        values = [array.result().read() for array in opened]
        return {name: value.result() for name, value in zip(names, values, strict=True)}


def _spec(folder: str, name: str) -> dict:
    # Not as a URL: tensorstore would read percent signs of the path as something else.
    base = {"driver": "file", "path": folder + "/"}
    return {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": base, "path": name.replace("/", ".") + "/"}}


def _first_of(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _kinds(tree) -> dict[str, tuple]:
    """Name -> (shape, dtype)."""
    return {digests.name_of(path): (tuple(leaf.shape), str(leaf.dtype))
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _kind(kind: tuple | None) -> str:
    return f"{kind[1]} {kind[0]}" if kind else "absent"


def _same_but_padding(stored: tuple, wanted: tuple, num_classes: int) -> bool:
    (there, dtype), (here, other) = stored, wanted
    return there[1:] == here[1:] and dtype == other and min(there[0], here[0]) >= num_classes
