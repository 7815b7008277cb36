"""Defines what a sweep is: points of a configuration, and how they combine. Each sweep is a file beside this one.

A point is a dict of dotted fields of configs/default.py and their values; its key "label", where it has one, names its
row in the report. An axis is a list of points. `get_sweep()` of a file returns `sweep(...)`.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from geodesic.errors import UserError

Point = Mapping[str, Any]


class Range(NamedTuple):
    """Values between two ends, both included, to draw from."""

    low: float
    high: float
    log: bool = False      # uniform in the logarithm
    integer: bool = False


class Search(NamedTuple):
    """Points that an optimiser chooses, one after another, instead of a list of them."""

    space: Mapping[str, Range | tuple]  # field -> range, or tuple of choices
    trials: int
    metric: str = "map@r"
    maximise: bool = True
    seed: int = 0                       # of the optimiser
    warmup_reports: int = 2             # evaluations before a trial may be pruned; needs evaluation.every_epochs


class Sweep(NamedTuple):
    """What `geodesic sweep` runs; `sweep` makes it."""

    config: str                         # configuration file, "file.py" or "file.py:argument"
    common: Mapping[str, Any]           # fields of every trial
    points: tuple[Point, ...]           # () with a search
    seeds: tuple[int, ...]              # each point runs once with each
    metrics: tuple[str, ...]            # columns of the report, by the names of evaluation.json
    baseline: str                       # label of the point that others are compared with; "" = the first
    paper: Mapping[str, Mapping[str, float]]  # label -> metric -> the published figure; a metric that is not one of
                                        # `metrics` gets a column of its own
    search: Search | None


def grid(fields: Mapping[str, Sequence]) -> list[Point]:
    """Makes a point of every combination of the fields' values.

    Example:
        >>> grid({"seed": (0, 1), "batch_size": (64,)})
        [{'seed': 0, 'batch_size': 64}, {'seed': 1, 'batch_size': 64}]
    """
    return [dict(zip(fields, values, strict=True)) for values in itertools.product(*fields.values())]


def zipped(fields: Mapping[str, Sequence]) -> list[Point]:
    """Makes a point of the fields' first values, one of their second values, and so on.

    Raises UserError for unequal numbers of values.

    Example:
        >>> zipped({"loss.name": ("arcface", "cosface"), "batch_size": (64, 32)})
        [{'loss.name': 'arcface', 'batch_size': 64}, {'loss.name': 'cosface', 'batch_size': 32}]
    """
    lengths = {name: len(values) for name, values in fields.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"zipped fields need as many values each; got {lengths}")
    return [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]


def sampled(count: int, seed: int, space: Mapping[str, Range | tuple]) -> list[Point]:
    """Draws `count` points at random: from each range uniformly, and of each tuple one of its values.

    Example:
        >>> sampled(2, 0, {"batch_size": (64, 128), "num_epochs": Range(1, 3, integer=True)}) == sampled(
        ...     2, 0, {"batch_size": (64, 128), "num_epochs": Range(1, 3, integer=True)})
        True
    """
    rng = random.Random(seed)
    return [{field: _draw(rng, values) for field, values in space.items()} for _ in range(count)]


def _draw(rng: random.Random, values: Range | tuple):
    if not isinstance(values, Range):
        return rng.choice(values)
    if values.integer and not values.log:
        return rng.randint(int(values.low), int(values.high))
    if not values.log:
        return rng.uniform(values.low, values.high)
    value = values.low * (values.high / values.low) ** rng.random()
    return round(value) if values.integer else value


def sweep(*, config: str, axes: Sequence[Sequence[Point]] = (), common: Mapping[str, Any] | None = None,
          seeds: Sequence[int] = (0,), metrics: Sequence[str] = ("map@r", "recall@1"), baseline: str = "",
          paper: Mapping | None = None, search: Search | None = None) -> Sweep:
    """Makes a sweep of every combination of one point of each axis, or of a search.

    The arguments are the fields of `Sweep`. Raises UserError where two axes set the same field, and for a seed that is
    there twice.

    Example:
        >>> losses = [{"loss.name": "arcface"}, {"loss.name": "cosface"}]
        >>> len(sweep(config="quickstart", axes=[losses, grid({"batch_size": (16, 32)})]).points)
        4
    """
    points = []
    for parts in itertools.product(*axes):
        point = {}
        for part in parts:
            twice = [field for field in part if field in point and field != "label"]
            if twice:
                raise UserError(f"two axes of the sweep set {twice[0]}: put them into one")
            labels = [labelled["label"] for labelled in (point, part) if "label" in labelled]
            point |= part | ({"label": ", ".join(labels)} if labels else {})
        points.append(point)
    if len(set(seeds)) != len(seeds) or not seeds:
        raise UserError(f"a sweep needs one seed or more, each once; got {tuple(seeds)}")
    return Sweep(config, common or {}, () if search else tuple(points), tuple(seeds), tuple(metrics), baseline,
                 paper or {}, search)
