"""Which weights of a run are used: their running average, where the run has one and nobody asks for the last ones."""

from geodesic.errors import UserError

# What `evaluation.weights` can be.
WEIGHTS = ("ema", "raw")


def is_used(config) -> bool:
    """Whether a run of this configuration is evaluated, loaded and exported by its running average.

    Raises UserError for another value of `evaluation.weights` than there is.

    Example:
      >>> from geodesic.configs import default
      >>> from geodesic.experiments.trained import average
      >>> config = default.get_config()
      >>> config.optimizer.ema_decay = 0.999
      >>> average.is_used(config)
      True
    """
    weights = config.evaluation.weights
    if weights not in WEIGHTS:
        raise UserError(f"evaluation.weights is one of {', '.join(WEIGHTS)}; got {weights!r}")
    return bool(config.optimizer.ema_decay) and weights == "ema"


def place(config) -> str:
    """What the names of these weights start with in a checkpoint, before "params/" and "batch_stats/"."""
    return "ema/" if is_used(config) else ""
