"""The ranges of the templates' fields, checked before anything starts."""

from typing import NamedTuple

from geodesic.errors import UserError


class Range(NamedTuple):
    low: float
    high: float
    step: float = 0.0  # 0: any value between


ALL = {
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
TEMPLATES = {
    "resnet_angular_margin": ALL | {"loss.arcface.scale": Range(16, 128), "loss.arcface.margin": Range(0.1, 0.9),
                                    "embedder.embedding_size": Range(1, 65_536, 1)},
    "inception_batch_norm": ALL,
    "resnext": ALL,
}
_LOSSES = {"inception_batch_norm": ("softmax", "sigmoid"), "resnext": ("softmax", "sigmoid")}


def check(config) -> None:
    """Raises UserError, with the range, for a field of `config.template` outside of it. "" has no ranges."""
    if not config.template:
        return
    if config.template not in TEMPLATES:
        raise UserError(f"unknown template {config.template!r}; known: {', '.join(TEMPLATES)}, or \"\" for none")
    for name, limits in TEMPLATES[config.template].items():
        value = config
        for key in name.split("."):
            value = value[key]
        steps = (value - limits.low) / limits.step if limits.step else 0
        if not limits.low <= value <= limits.high or steps != round(steps):
            stepped = f" in steps of {limits.step:g}" if limits.step else ""
            raise UserError(f"{config.template}: {name} is {limits.low:g} to {limits.high:g}{stepped}; got {value:g}. "
                             f"--config.template='' lifts the ranges")
    if config.template in _LOSSES and config.loss.name not in _LOSSES[config.template]:
        raise UserError(f"{config.template} trains a classifier: loss.name is "
                         f"{' or '.join(_LOSSES[config.template])}; got {config.loss.name!r}. "
                         f"--config.template='' lifts this")
