"""A configuration small enough that a training step takes milliseconds, and the pieces of a run made from it."""

import functools

import numpy as np

from geodesic import embedders
from geodesic.configs import default
from geodesic.embedders.resnet import BasicBlock, ResNet
from geodesic.experiments import tasks
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model
from tests.datasets import images

# Two blocks in two stages; registered only while tests run.
embedders.EMBEDDERS["tiny"] = functools.partial(ResNet, stage_sizes=(1, 1), block=BasicBlock, width=8,
                                              stem="small", layer="stage2")


def config(folder="", **changes):
    """changes: dotted_field names with __ for the dots."""
    config = default.get_config()
    for data in (config.train_data, config.test_data):
        data.name, data.path = "image_folder", str(folder)
    config.input.image_size = 16
    config.augment.brightness = 0.1
    config.embedder.name, config.embedder.embedding_size = "tiny", 16
    config.batch_size = config.evaluation.batch_size = 8
    config.num_epochs = 2
    config.evaluation.recall_at = (1, 2, 4)  # some test sets have 8 images
    config.optimizer.learning_rate = 1e-3
    for loss in (config.loss.arcface, config.loss.cosface, config.loss.normface):
        loss.scale = 16.0
    config.run.log_every_steps = 1
    return changed(config, **changes)


def changed(config, **changes):
    """The configuration, with other values: dotted_field names with __ for the dots."""
    for name, value in changes.items():
        *sections, field = name.split("__")
        functools.reduce(lambda section, key: section[key], sections, config)[field] = value
    return config


def faces(folder, classes=5, count=4):
    return images.make_folder(folder, classes, count)


def batch(size=8, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    return {"image": rng.integers(0, 256, (size, 16, 16, 3), np.uint8),
            "label": rng.integers(0, classes, size, np.int32)}


def built(config, devices, classes=5, examples=20):
    """(model, mesh) over `devices`."""
    mesh = meshes.make(devices)
    return model.build(config, tasks.get(config.task), classes, examples, mesh), mesh


