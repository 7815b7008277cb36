"""Embeddings in which images of one class are near to each other, whatever the classes: retrieval and verification."""

import jax

from geodesic import datasets
from geodesic.datasets import mixing
from geodesic.experiments.tasks.task import Task
from geodesic.experiments.trained import network
from geodesic.experiments.training import data
from geodesic.experiments.training import model as models


def targets(config) -> dict:
    """The class of each image; of mixed ones the other class too, and the first one's weight."""
    mixed = {"other_label": jax.ShapeDtypeStruct((), "int32"), "label_weight": jax.ShapeDtypeStruct((), "float32")}
    return {"label": jax.ShapeDtypeStruct((), "int32"), **(mixed if mixing.is_on(config.augment) else {})}


def check(config, train: datasets.Source) -> None:
    """Raises UserError for training data of one class, and for test data of another kind that nobody has asked for."""
    data.check_kinds(config)
    data.check_two_classes(config, train)


TASK = Task(
    train_source=data.train_source,
    test_source=data.test_source,
    batches=data.CountedBatches,
    targets=targets,
    network=lambda config, num_classes: network.make_embedder(config.embedder, config.head),
    loss=models.make_loss,
    evaluators=("test",),
    check=check,
)
