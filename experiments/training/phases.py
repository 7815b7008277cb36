"""Which parts of the network learn in which step. What does not is frozen: it is not differentiated, its statistics and
moments stay, and it does not decay.

A part is what stands directly below the embedder in the parameters, such as "stage1_block1" or "neck".
"""

import fnmatch
from collections.abc import Iterable
from typing import NamedTuple

from geodesic import embedders
from geodesic.errors import UserError


class Phases(NamedTuple):
    """Times of a run that differ in what is frozen.

    Attributes:
      starts: the first step of each phase, ascending from 0.
      frozen: the parts that do not learn in each of them.
    """

    starts: tuple[int, ...] = (0,)
    frozen: tuple[tuple[str, ...], ...] = ((),)


def matches(pattern: str, path: str) -> bool:
    """Whether a glob is of this path or of one above it; a star stands for slashes too.

    Example:
      >>> from geodesic.experiments.training import phases
      >>> [phases.matches(pattern, "embedder/stage1_block1/bn1/bias")
      ...  for pattern in ("embedder/stage1_*", "*/bias", "embedder/stage1")]
      [True, True, False]
    """
    names = path.split("/")
    return any(fnmatch.fnmatchcase("/".join(names[:count]), pattern) for count in range(1, len(names) + 1))


def first_steps(options, parts: Iterable[str], steps_per_epoch: float) -> dict[str, int | None]:
    """The first step in which each part learns; None where it never does.

    Args:
      options: the section `optimizer` of a configuration, of which `frozen` and `head_only_epochs` are read.
      parts: of the embedder.
      steps_per_epoch: updates that make an epoch.

    Raises:
      UserError: an entry of `frozen` is no pattern with a number of epochs, or is of no part.

    Example:
      >>> from geodesic.configs import default
      >>> from geodesic.experiments.training import phases
      >>> options = default.get_config().optimizer
      >>> options.frozen = (("embedder/conv1", 0), ("embedder/stage1_*", 2.0))
      >>> phases.first_steps(options, ("conv1", "stage1_block1", "neck"), steps_per_epoch=10)
      {'conv1': None, 'stage1_block1': 20, 'neck': 0}
    """
    parts, head_only = list(parts), round(options.head_only_epochs * steps_per_epoch)
    found = {name: 0 if name in embedders.ABOVE_TRUNK else head_only for name in parts}
    waiting = set(parts)
    for entry in options.frozen:
        if not _is_pattern_with_epochs(entry):
            raise UserError(f"optimizer.frozen has {entry!r}; expected a pattern and the epoch until which it holds, 0 "
                            f"for always, such as ((\"embedder/stage1_*\", 0), (\"embedder/stage2_*\", 5.0))")
        pattern, epochs = entry
        named = [name for name in parts if matches(pattern, f"embedder/{name}")]
        if not named:
            raise UserError(f"optimizer.frozen: {pattern!r} is no part of the network; it has "
                            f"{', '.join(f'embedder/{name}' for name in parts)}")
        for name in waiting & set(named):  # the first that is of a part holds
            found[name] = max(found[name], round(epochs * steps_per_epoch), 1) if epochs else None
        waiting -= set(named)
    return found


def make(options, starts: dict[str, int | None]) -> Phases:
    """The phases of a run.

    Args:
      options: the section `optimizer` of a configuration; a trunk whose `trunk_learning_rate_factor` is 0 never learns.
      starts: of `first_steps`.
    """
    if not options.trunk_learning_rate_factor:
        starts = {name: start if name in embedders.ABOVE_TRUNK else None for name, start in starts.items()}
    times = sorted({0, *(start for start in starts.values() if start)})
    return Phases(tuple(times), tuple(tuple(name for name, start in starts.items() if start is None or start > time)
                                      for time in times))


def describe(phases: Phases) -> list[str]:
    """A line for each phase: from which step on, and what is frozen; [] where nothing ever is."""
    if not any(phases.frozen):
        return []
    named = lambda names: ", ".join(names) if len(names) < 6 else f"{names[0]} to {names[-1]}, {len(names)} parts"
    return [f"from step {start:,}: " + (f"frozen {named(frozen)}" if frozen else "all learns")
            for start, frozen in zip(*phases, strict=True)]


def _is_pattern_with_epochs(entry) -> bool:
    return (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)
            and isinstance(entry[1], int | float) and entry[1] >= 0)
