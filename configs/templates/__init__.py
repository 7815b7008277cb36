"""The platform's three templates. docs/templates.md has the platform's names of these fields, and their ranges.

Each file has `get_config()` and LIMITS, what its fields may be, which configs/limits.py checks.
"""

import importlib
import pkgutil
from typing import NamedTuple

from geodesic.configs import default
from geodesic.errors import UserError


class Range(NamedTuple):
    """Numbers between two ends, both included."""

    low: float
    high: float
    step: float = 0.0  # 0: any value between


# What the templates share: a field -> its range, or a tuple of the names that it may be.
LIMITS = {
    "input.image_size": Range(32, 1024, 16),
    "batch_size": Range(1, 2 ** 20, 1),
    "num_epochs": Range(0, 10_000),
    "items_per_epoch": Range(0, 2 ** 40, 1),
    "schedule.first_step_epoch": Range(0, 10_000),
    "schedule.step_every_epochs": Range(1e-3, 10_000),
    "schedule.step_factor": Range(0, 1),
    "optimizer.learning_rate_per_item": Range(0, 1),
    "optimizer.trunk_learning_rate_factor": Range(0, 10),
    "invalid_data_tolerance_percent": Range(0, 100),
}


def base(name: str):
    """Makes the configuration that the templates share, under the name of one of them.

    Example:
        >>> base("resnext").num_epochs
        65
    """
    config = default.get_config()
    config.template = name
    config.input.update(image_size=256, fit="center_crop")
    config.batch_size = config.evaluation.batch_size = 64
    config.num_epochs = 65
    config.optimizer.update(learning_rate_per_item=7.8125e-5, weight_decay=5e-4)
    # Two drops are a factor of ten: the six drops of 65 epochs leave a thousandth of the rate.
    config.schedule.update(name="step_every", first_step_epoch=25.0, step_every_epochs=7.0, step_factor=0.1 ** 0.5)
    config.invalid_data_tolerance_percent = 5.0
    return config


def names() -> list[str]:
    """Lists the templates, in name order.

    Example:
        >>> names()
        ['inception_batch_norm', 'resnet_angular_margin', 'resnext']
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str):
    """Imports the file of a template. Raises UserError, with the known names, for another name.

    Example:
        >>> load("resnext").LIMITS["loss.name"]
        ('softmax', 'sigmoid')
    """
    if name not in names():
        raise UserError(f"unknown template {name!r}; known: {', '.join(names())}, or \"\" for none")
    return importlib.import_module(f"{__name__}.{name}")
