"""What a gallery is bound to: everything that decides the values of a vector. Vectors of two models never compare,
whatever their number of dimensions.
"""

import functools

from geodesic.configs import default, stored
from geodesic.errors import UserError
from geodesic.experiments.galleries import vectors

# Fields of a configuration's `embedder` that training alone, or speed alone, depends on.
_OF_TRAINING = ("dropout", "drop_path", "batch_norm", "batch_norm_group_size", "bn_momentum", "zero_init_last_scale",
                "remat", "convolution")
_NAMES = {"weights": "the weights' digest", "layer": "the layer", "flips": "the mean over mirrored images",
          "channels": "the order of the channels", "normalisation": "the normalisation", "size": "the vectors' size"}


def of(run) -> dict:
    """The fields of a run, flat, as they come back from a file: {"weights": digest, "input.mean": [...], ...}."""
    config = stored.as_dict(run.config)
    sections = {name: config[name] for name in ("embedder", "head", "input")}
    fields = {name: value for name, value in stored.flat(sections).items()
              if not name.startswith(tuple(f"embedder.{field}" for field in _OF_TRAINING))}
    evaluation = config["evaluation"]
    return fields | {"weights": run.digest, "layer": evaluation["layer"], "channels": "RGB",
                     "flips": evaluation["average_horizontal_flips"], "normalisation": "unit length",
                     "size": run.embedding_size}


def info(run, kind: str) -> dict:
    """What a gallery says of itself. kind: of its vectors. Raises UserError for another one, and for a run without."""
    if kind not in vectors.KINDS:
        raise UserError(f"vectors are {', '.join(vectors.KINDS)}; got {kind!r}")
    if not run.embedding_size:
        raise UserError(f"{run.workdir} gives no embeddings: name a layer with --config.evaluation.layer=...")
    try:
        threshold = run.threshold_of()
    except UserError:
        threshold = None
    return {"model": of(run), "identity": run.identity, "vectors": kind, "threshold": threshold}


def differing(there: dict, here: dict) -> list[str]:
    """A line for each field that differs, the weights first. A field that one of the two is older than has its default.
    """
    names = sorted({*there, *here}, key=lambda name: (name != "weights", name))
    pairs = [(name, *(one.get(name, _default(name)) for one in (there, here))) for name in names]
    return [f"{_NAMES.get(name, name)} {before!r} there, {now!r} here" for name, before, now in pairs if before != now]


def check(there: dict, here: dict, path: str) -> None:
    """Raises UserError, naming the fields, where a gallery was made by another model."""
    if lines := differing(there, here):
        more = f", and {len(lines) - 3} more" if len(lines) > 3 else ""
        raise UserError(f"the gallery {path} was made by another model: {'; '.join(lines[:3])}{more}. Its vectors "
                        f"compare with nothing that this one gives: use the --workdir that it was made with, or embed "
                        f"its pictures anew with geodesic gallery migrate")


def _default(name: str):
    return _defaults().get(name)


@functools.cache
def _defaults() -> dict:
    return stored.flat(stored.as_dict(default.get_config()))
