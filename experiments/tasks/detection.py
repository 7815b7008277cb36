"""Where in an image objects of the trained classes are: a box, a class and a score for each.

The data are of a source whose images have boxes (docs/detection.md), and the network is a trunk with a feature pyramid
and a head, which count as what lies above the trunk: `optimizer.head_only_epochs`, `trunk_learning_rate_factor`
and `frozen` are of a detector as of an embedder.
"""

import jax

from geodesic import datasets, losses
from geodesic.errors import UserError
from geodesic.experiments.protocols import detecting
from geodesic.experiments.tasks.task import Task
from geodesic.experiments.trained import detector
from geodesic.experiments.training import data

# Fields that a detector has no use for, and the value that says so.
_UNUSED = {"sampling.name": "uniform", "augment.mixup_alpha": 0.0, "augment.cutmix_alpha": 0.0,
           "evaluation.average_horizontal_flips": False}


def train_source(config) -> datasets.Source:
    return detecting.check_annotated(data.train_source(config), config.train_data)


def test_source(config) -> datasets.Source:
    return detecting.check_annotated(data.test_source(config), config.test_data)


def targets(config) -> dict:
    """The boxes of each image in pixels of the network's input, their classes, and how many there are."""
    most = config.detection.max_boxes
    return {"boxes": jax.ShapeDtypeStruct((most, 4), "float32"), "classes": jax.ShapeDtypeStruct((most,), "int32"),
            "num_boxes": jax.ShapeDtypeStruct((), "int32")}


def loss(config, num_classes: int, mesh: jax.sharding.Mesh) -> losses.Loss:
    """The loss of the network's head. Raises UserError for another, and beside a teacher."""
    options = config.detection
    if config.loss.name != options.head:
        raise UserError(f"--config.task=detection with --config.detection.head={options.head} learns by "
                        f"--config.loss.name={options.head}; got {config.loss.name!r}")
    if config.distill.teacher:
        raise UserError("a detector has no teacher: leave out distill.teacher")
    places = detector.points(detector.make(config, num_classes), options)
    return detector.kind(options).loss(places, num_classes, **config.loss[options.head])


def check(config, train: datasets.Source) -> None:
    """Raises UserError for test data that nobody has asked for, for training data without boxes, and for fields that
    would be left undone.
    """
    for name, value in _UNUSED.items():
        section, _, field = name.partition(".")
        if config[section][field] != value:
            raise UserError(f"{name} is not for a detector: leave it at {value!r} (its pictures vary by box_augment)")
    data.check_kinds(config)
    detecting.check_boxes(train, config.train_data)


TASK = Task(
    train_source=train_source,
    test_source=test_source,
    batches=data.BoxBatches,
    targets=targets,
    network=detector.make,
    loss=loss,
    evaluators=("detection",),
    check=check,
)
