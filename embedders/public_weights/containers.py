"""Which tensors of a file are the weights: training programs keep several dictionaries of them beside one another.

A container is a dictionary of tensors in the file, known by the keys that lead to it, joined by dots: "state_dict",
"state_dict_ema", "teacher"; "" is the file itself.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...errors import UserError

# Where training programs keep the weights, the likelier first. An average over the training, and what it is the average
# of, are both weights: which of them was taken is for the caller to say.
_KNOWN = ("state_dict", "model_state_dict", "model", "ema", "net", "network", "teacher")


class Chosen(NamedTuple):
    """The tensors that were taken from a file.

    Attributes:
      tensors: name, without the prefix that was asked for -> array.
      container: the container that they lie in.
      prefix: what was taken off their names in the container.
      outside: the names in the container that do not begin with the prefix.
      others: prefixes that choose other containers, in which a network begins too.
    """

    tensors: dict[str, np.ndarray]
    container: str
    prefix: str
    outside: list[str]
    others: list[str]


def collect(tree: Mapping) -> dict[str, dict[str, np.ndarray]]:
    """The containers of a tree of dictionaries, in its order. What is no array and no dictionary is passed over.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import containers
      >>> containers.collect({"epoch": 3, "model": {"a.weight": np.ones(1)}, "optimizer": {"state": {}}})
      {'model': {'a.weight': array([1.])}}
    """
    found, seen, waiting = {}, set(), [("", tree)]
    while waiting:
        name, node = waiting.pop()
        if id(node) in seen:  # a dictionary may hold itself
            continue
        seen.add(id(node))
        tensors = {str(key): value for key, value in node.items() if isinstance(value, np.ndarray)}
        if tensors:
            found[name] = tensors
        inner = [(f"{name}.{key}" if name else str(key), value) for key, value in node.items()
                 if isinstance(value, Mapping)]
        waiting += reversed(inner)
    return found


def choose(containers: dict[str, dict[str, np.ndarray]], prefix: str = "", first: tuple[str, ...] = ()) -> Chosen:
    """The tensors below a prefix, or, without one, those of the likeliest container.

    Args:
      containers: of `collect`.
      prefix: of the tensors' names, in their container ("module.encoder_q") or with it ("teacher.backbone"), or a
        container alone ("state_dict_ema").
      first: the names of tensors by one of which the network is known, `layouts.Layout.first`; a container without any
        is taken only where none has one.

    Raises:
      UserError: nothing lies below the prefix.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import containers
      >>> file = {"state_dict": {"a.weight": np.ones(1)}, "state_dict_ema": {"a.weight": np.zeros(1)}}
      >>> containers.choose(file).container, containers.choose(file, "state_dict_ema").tensors
      ('state_dict', {'a.weight': array([0.])})
    """
    prefix = prefix.rstrip(".")
    inner = {name: _inner_prefix(name, tensors, prefix) for name, tensors in containers.items()}
    below = {name: {key.removeprefix(inner[name]): value for key, value in tensors.items()
                    if key.startswith(inner[name])} for name, tensors in containers.items() if inner[name] is not None}
    if not below:
        raise UserError(f"no tensor lies below the prefix {prefix!r}; there are {_described(containers)}")
    networks = [name for name, tensors in below.items()
                if any(key == tensor or key.endswith(f".{tensor}") for key in tensors for tensor in first)]
    # Where the file itself is a network, what lies beside its tensors is not meant.
    taken = "" if "" in networks else min(networks or below, key=lambda name: (_rank(name), -len(below[name])))
    return Chosen(below[taken], taken, inner[taken].removesuffix("."),
                  [key for key in containers[taken] if not key.startswith(inner[taken])],
                  [name for name in networks if name != taken])


def _inner_prefix(container: str, tensors: dict[str, np.ndarray], prefix: str) -> str | None:
    """What the names in a container begin with that lie below the prefix: "" for all of them, None for none."""
    if not prefix or f"{container}.".startswith(f"{prefix}."):
        return ""
    inner = [f"{prefix}.".removeprefix(f"{container}."), f"{prefix}."]
    return next((start for start in inner if any(key.startswith(start) for key in tensors)), None)


def _rank(container: str) -> int:
    first = container.split(".")[0]
    return _KNOWN.index(first) if first in _KNOWN else len(_KNOWN)


def _described(containers: dict[str, dict[str, np.ndarray]]) -> str:
    """The largest containers, with how many tensors they have and how these are called."""
    largest = sorted(containers, key=lambda name: -len(containers[name]))[:4]
    kinds = lambda tensors: ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name in tensors))
    return "; ".join(f"{name or 'the file itself'} with {len(containers[name])} tensors: "
                     f"{kinds(containers[name])[:120]}" for name in largest) or "none"
