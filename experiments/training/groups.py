"""Groups of parameters with factors of their own: by patterns of their paths, and by how deep their layer lies."""

from collections.abc import Mapping

import jax

from geodesic import embedders
from geodesic.errors import UserError
from geodesic.experiments.training import phases


def factors(options, path: tuple) -> tuple[float, float]:
    """The learning-rate factor and the decay factor of a parameter: of the first of `options.groups` that is of it.

    Args:
      options: the section `optimizer` of a configuration.
      path: the parameter's keys below {"embedder": ..., "loss": ...}.
    """
    name = name_of(path)
    return next((tuple(rest) for pattern, *rest in options.groups if phases.matches(pattern, name)), (1.0, 1.0))


def of_layer(options, layers: Mapping[str, int] | None, path: tuple) -> float:
    """The learning-rate factor of a parameter's layer: `options.layer_decay` to the power of the layers above it.

    Bao, Dong, Piao, Wei: BEiT: BERT Pre-Training of Image Transformers, 2021, arXiv:2106.08254.

    Args:
      options: the section `optimizer` of a configuration.
      layers: part of the embedder -> number of its layer, `embedders.layer_numbers`.
      path: as of `factors`.
    """
    if options.layer_decay == 1 or path[0].key != "embedder" or path[1].key in embedders.ABOVE_TRUNK:
        return 1.0
    top = max(number for name, number in layers.items() if name not in embedders.ABOVE_TRUNK) + 1
    return options.layer_decay ** (top - layers.get(path[1].key, 0))


def name_of(path: tuple) -> str:
    """embedder/stage1_block1/conv1/kernel"""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def check(options, params) -> None:
    """Raises UserError for an entry of `options.groups` that is no group, and for a pattern that no parameter has."""
    names = [name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for entry in options.groups:
        if not (isinstance(entry, tuple) and len(entry) == 3 and isinstance(entry[0], str)
                and all(isinstance(factor, int | float) and factor >= 0 for factor in entry[1:])):
            raise UserError(f"optimizer.groups has {entry!r}; expected a pattern, a learning-rate factor and a decay "
                            f"factor, such as ((\"*/bias\", 2.0, 0.0),)")
        if not any(phases.matches(entry[0], name) for name in names):
            raise UserError(f"optimizer.groups: {entry[0]!r} is no parameter's path, nor one above it; paths are "
                            f"such as {names[0]} and {names[-1]}")


def describe(options, params, layers: Mapping[str, int] | None) -> list[str]:
    """A line for each group, with how many arrays it has, and one for the decay by layers; [] where there are none."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    first = [next((place for place, entry in enumerate(options.groups)
                   if phases.matches(entry[0], name_of(path))), None) for path in paths]
    lines = [f"{pattern}: {first.count(place)} arrays, learning rate x {rate:g}, decay x {decay:g}"
             for place, (pattern, rate, decay) in enumerate(options.groups)]
    if options.layer_decay != 1:
        lowest = min(of_layer(options, layers, path) for path in paths)
        lines.append(f"layers: learning rate x {options.layer_decay:g} for each layer below the top, {lowest:.3g} for "
                     f"the stem")
    return lines
