"""Files that take pictures of more sizes than the run's: of which networks there are any, and where they are proven."""

from typing import NamedTuple

import jax
from jax.errors import InconclusiveDimensionOperation

from geodesic.embedders.cpu import backend
from geodesic.errors import UserError
from geodesic.experiments.exporting import trace
from geodesic.experiments.trained import embedding, exportable, network

# Of a picture whose maps have a side for every stride that there is.
_LARGE = 2048


class Sizes(NamedTuple):
    """The heights and widths that files take.

    least: the smallest, the network's total stride: of smaller ones the last map would be padding for the most part.
    multiple: of what they are multiples. others: (height, width) on which files are compared, beside the run's size.
    """

    least: int
    multiple: int
    others: tuple[tuple[int, int], ...]

    @property
    def shape(self) -> tuple[str, str, int]:
        """Of one image, as of `trace.images`."""
        factor = f"{self.multiple}*" if self.multiple > 1 else ""
        return f"{factor}height", f"{factor}width", 3

    @property
    def map(self) -> tuple[str, str]:
        """Height and width of the last map."""
        return ("height", "width") if self.multiple > 1 else (f"ceil(height/{self.least})", f"ceil(width/{self.least})")


def free(config, embedder, output: str, layer: str) -> Sizes:
    """The sizes that an embedder's files can take: nothing is computed, shapes are symbols.

    output, layer: as of `export_wanted.Wanted`. Raises UserError where they have the run's size alone.
    """
    name, side = config.embedder.name, config.input.image_size
    maps = {key: shape for key, shape in network.layers(embedder, _LARGE).items() if len(shape) == 3}
    whole = layer not in maps  # else the file ends at this layer
    if whole and embedder.head is None and embedder.pooling == "flatten":
        raise UserError(f"{name} flattens its last map, and has weights for every place of it: its files take pictures "
                        f"of {side} px alone; leave free_size out, or give a layer, one of {', '.join(maps)}")
    taken = (layer,) if not whole else (embedder.head and embedder.head_layers) or (embedder.layer,)
    stride = _LARGE // min(min(maps[key][:2]) for key in taken)
    variables = network.abstract(embedder, side)[1]
    embed = embedding.make_embed(exportable.native(exportable.up_to(embedder, layer), "float32"), None, layer=layer,
                                 pooled=output != "map",
                                 average_horizontal_flips=config.evaluation.average_horizontal_flips)
    for multiple in (1, stride):
        sizes = Sizes(stride, multiple, _around(side, stride, multiple))
        try:
            with backend.compiling_for("tpu"):
                jax.eval_shape(embed, variables, trace.images(sizes.shape, "float32", stride))
        except InconclusiveDimensionOperation:
            continue  # a padding depends on whether a side is even
        if side < stride or side % multiple:
            raise UserError(f"with free_size, files of {name} take heights and widths from {stride} px on"
                            f"{f', in multiples of {multiple}' if multiple > 1 else ''}, and the run's pictures have "
                            f"{side} px: leave free_size out")
        return sizes
    raise UserError(f"{name}{f' with head {config.head.name}' if config.head.name else ''} computes something that "
                    f"depends on the size of its maps: leave free_size out")


def _around(side: int, least: int, multiple: int) -> tuple[tuple[int, int], ...]:
    """A higher and a wider picture than the run's; odd sides, where there may be any."""
    smaller, larger, largest = (
        max(size, least) | 1 if multiple == 1 else -(-max(size, least) // multiple) * multiple
        for size in (side * 3 // 4, side * 5 // 4, side * 3 // 2))
    return (larger, smaller), (smaller, largest)
