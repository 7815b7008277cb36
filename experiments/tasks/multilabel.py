"""Which of the trained classes an image shows, any number of them: a sigmoid for each class.

The data are of a source whose images have tags (docs/data.md: a manifest with the column `labels`), and the loss is one
that takes labels of several classes, multi-hot.
"""

import jax

from geodesic import datasets
from geodesic.datasets import mixing
from geodesic.errors import UserError
from geodesic.experiments.tasks import embedding
from geodesic.experiments.training import data
from geodesic.experiments.training import model as models


class Batches(data.CountedBatches):
    """Batches with the "tags" of each image, bool[b,C], too."""

    TAGS = True


def train_source(config) -> datasets.Source:
    return _tagged(data.train_source(config), "training", config.train_data)


def test_source(config) -> datasets.Source:
    return _tagged(data.test_source(config), "test", config.test_data)


def _tagged(source: datasets.Source, part: str, options) -> datasets.Source:
    """The source. Raises UserError for one whose images have no tags, or tags that are not its classes."""
    if getattr(source, "tags", None) is None:
        raise UserError(f"--config.task=multilabel takes images of several classes; those of the {part} data "
                        f"({options.name} {options.path}".rstrip() + ") have one each, or are a part of a source: use "
                        "a whole manifest with the column labels, or FILE#SPLIT for a split of it")
    if [*source.tag_names] != [*source.class_names]:
        raise UserError(f"the tags of the {part} data are no classes: prepare a manifest with the column labels")
    return source


def targets(config) -> dict:
    """The first class of each image, and whether it is of each class."""
    classes = data.num_classes(config, train_source(config))
    return {"label": jax.ShapeDtypeStruct((), "int32"), "tags": jax.ShapeDtypeStruct((classes,), "bool")}


def loss(config, num_classes: int, mesh: jax.sharding.Mesh):
    """Raises UserError for a loss that takes one class, and where images are mixed."""
    if mixing.is_on(config.augment):
        raise UserError("images of several classes are not mixed: set augment.mixup_alpha=0 and cutmix_alpha=0")
    made = models.make_loss(config, num_classes, mesh)
    if not made.multi_hot:
        raise UserError(f"--config.task=multilabel takes a loss of several classes for each image, sigmoid; got "
                        f"{config.loss.name!r}")

    def apply(params, state, outputs, targets, rng):
        return made.apply(params, state, outputs, {**targets, "label": targets["tags"].astype("int32")}, rng)

    return made._replace(apply=apply)


TASK = embedding.TASK._replace(train_source=train_source, test_source=test_source, batches=Batches, targets=targets,
                               loss=loss, evaluators=("average_precision",))
