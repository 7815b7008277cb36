"""What programs that work with kept vectors are asked alike: where the vectors are, and which threshold counts."""

from collections.abc import Callable

from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import progress
from geodesic.experiments.reporting import asked
from geodesic.experiments.trained import collection, loading


def define() -> None:
    flags.DEFINE_string("gallery", "", "A gallery of geodesic gallery.")
    flags.DEFINE_string("embeddings", "", "In place of --gallery: a file of geodesic embed.")
    flags.DEFINE_string("root", "", "Folder below which the pictures of --embeddings lie now.")
    asked.define_pictures("In place of these, with --workdir: a picture, or a folder of pictures, to embed now.")


def define_threshold() -> None:
    flags.DEFINE_float("threshold", None, "From this cosine two pictures count as one; default: as geodesic calibrate "
                       "has set in --workdir, or as the gallery has kept.")
    flags.DEFINE_float("far", 0.0, "The threshold of this false accept rate; 0 = of the smallest there is.")


def check(values) -> None:
    """Raises UserError for vectors that are asked for in no way, or in two."""
    given = [name for name in ("gallery", "embeddings") if getattr(values, name)]
    given += ["images"] if values.images or values.source else []
    if len(given) != 1:
        raise UserError("which vectors? --gallery=..., --embeddings=..., or --images=... with --workdir=..., and one "
                        "of them alone" + (f"; got --{' and --'.join(given)}" if given else ""))
    asked.check_pictures(values, required=False)
    if "images" in given and not values.workdir:
        raise UserError("--workdir=... is required: pictures are embedded by its model")
    if values.root and not values.embeddings:
        raise UserError("--root is of the pictures of --embeddings")


def which(values) -> str:
    """The vectors, for messages."""
    return values.gallery or values.embeddings or asked.which(values)


def load(values, config, say: Callable[[str], None], run=None) -> collection.Collection:
    """The vectors that are asked for. run: that of --workdir, where it is loaded already."""
    if values.gallery:
        return collection.of_gallery(values.gallery)
    if values.embeddings:
        return collection.of_file(values.embeddings, values.root)
    source, run = asked.pictures(values), run or loading.load(values.workdir, config)
    with progress.bar("embedding", len(source)) as advance:
        return collection.of_source(run, source, say, advance)
