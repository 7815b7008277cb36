"""The loop with another task than embeddings: outputs and targets that are trees, on other devices and resumed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from geodesic import datasets, losses
from geodesic.errors import UserError
from geodesic.experiments import tasks, train
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import progress
from geodesic.experiments.training import data
from geodesic.experiments.training import model as models
from geodesic.experiments.training import step as steps
from tests.experiments import tiny
from tests.experiments.train_test import StopAt, one_device  # noqa: F401

CELLS = 4  # of a 2 x 2 map


class Detector(nn.Module):
    """A box and a score for each cell of a map."""

    @nn.compact
    def __call__(self, images, train=False, frozen=()):
        maps = nn.relu(nn.Conv(8, (8, 8), (8, 8), name="conv1")(images)).reshape(images.shape[0], CELLS, 8)
        return {"boxes": nn.Dense(4, name="neck")(maps), "scores": nn.Dense(1, name="score")(maps)[..., 0]}


def make_loss(config, num_classes, mesh):
    """Boxes by their distance, where there are any: the mean is over those of the whole batch, not of a device."""
    def apply(params, state, outputs, targets, rng):
        there = targets["objects"]["there"]
        distance = jnp.abs(outputs["boxes"] - targets["objects"]["boxes"]).sum(-1)
        count = jnp.maximum(there.sum(), 1)
        boxes = jnp.where(there, distance, 0).sum() / count
        score = jnp.square(outputs["scores"] - there).mean()
        return boxes + score, state, {"box_loss": boxes, "objects": count.astype(jnp.float32)}

    return losses.Loss(lambda rng, size: ({}, {}), apply)


class Batches(data.CountedBatches):
    """Boxes that are a function of the picture and its place in the batch."""

    def __next__(self):
        batch = super().__next__()
        label = batch.pop("label")
        boxes = batch["image"].reshape(len(label), CELLS, -1)[:, :, :4].astype(np.float32) / 255
        return {**batch, "objects": {"boxes": boxes, "there": (label[:, None] + np.arange(CELLS)) % 3 == 0}}


DETECTION = tasks.get("embedding")._replace(
    batches=Batches, network=lambda config, num_classes: Detector(), loss=make_loss, evaluators=(),
    targets=lambda config: {"objects": {"boxes": jax.ShapeDtypeStruct((CELLS, 4), "float32"),
                                        "there": jax.ShapeDtypeStruct((CELLS,), "bool")}})


def one_batch(size=8):
    rng = np.random.default_rng(0)
    return {"image": tiny.batch(size)["image"],
            "objects": {"boxes": rng.random((size, CELLS, 4), np.float32), "there": rng.random((size, CELLS)) < 0.4}}


GOLDEN_DETECTION_STEP = {
    "box_loss": 2.99749, "finite": 1.0, "gradient_norm": 5.49889, "learning_rate": 0.001, "loss": 3.37544,
    "objects": 6.0, "neck": 1.74342,
}


def test_a_golden_step_of_a_tree():
    """All scalars of a step are the same on 1, 2 and 8 devices, and in the program that `abstract_batch` describes."""
    config, found = tiny.config(optimizer__name="sgd"), []
    for devices in (1, 2, 8):
        mesh = meshes.make(jax.devices()[:devices])
        model = models.build(config, DETECTION, 5, 20, mesh)
        step = steps.make_train_step(model, mesh)
        batch = steps.put_train_batch(model, mesh, one_batch())
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), batch) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), steps.abstract_batch(model, mesh))
        state, scalars = step(models.init_state(model, mesh), batch)
        found.append({name: float(value) for name, value in scalars.items()}
                     | {"neck": float(jnp.linalg.norm(state.params["embedder"]["neck"]["kernel"]))})
    for scalars in found:
        assert scalars == pytest.approx(found[0], rel=1e-5)
    assert found[0] == pytest.approx(GOLDEN_DETECTION_STEP, rel=1e-4), (
        "The step of a task with trees has changed. If you changed the mathematics, the initialisation or the random "
        f"numbers on purpose, put these numbers in GOLDEN_DETECTION_STEP and say why in the commit: {found[0]}")


def test_parts_of_a_tree_are_the_mean_of_their_steps():
    config = tiny.config(accumulation_steps=2)
    mesh = meshes.make(jax.devices()[:2])
    model = models.build(config, DETECTION, 5, 20, mesh)
    batch = steps.put_train_batch(model, mesh, one_batch())
    assert batch["objects"]["boxes"].shape == (2, 4, CELLS, 4)
    _, scalars = steps.make_train_step(model, mesh)(models.init_state(model, mesh), batch)
    there = one_batch()["objects"]["there"]
    assert float(scalars["objects"]) == (there[:4].sum() + there[4:].sum()) / 2


def test_another_task_trains_stops_and_goes_on_bit_for_bit(one_device, tmp_path):  # noqa: F811
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=6, run__checkpoint_every_steps=2)
    assert train.train(config, str(tmp_path / "whole"), StopAt(), task=DETECTION) == 0
    assert train.train(config, str(tmp_path / "parts"), StopAt(4), task=DETECTION) == 143
    assert train.train(config, str(tmp_path / "parts"), StopAt(), task=DETECTION) == 0
    whole, parts = ({record["step"]: record["loss"] for record in progress.read_metrics(str(tmp_path / name))
                     if "loss" in record} for name in ("whole", "parts"))
    assert whole == parts and len(whole) == 6


def test_classification_is_watched_by_its_accuracy(one_device, tmp_path, capsys):  # noqa: F811
    config = tiny.config(tiny.faces(tmp_path / "faces"), task="classification", total_steps=30, run__keep_best="top1",
                         optimizer__learning_rate=0.02, evaluation__every_epochs=4.0)
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0
    scores = [record["top1"] for record in progress.read_metrics(str(tmp_path / "run")) if "top1" in record]
    assert len(scores) == 4 and scores[-1] > 0.6 > scores[0]
    assert "accuracy  top-1" in capsys.readouterr().out


def test_classes_that_are_not_trained_on_are_refused_before_the_first_step(one_device, tmp_path):  # noqa: F811
    config = tiny.config(tiny.faces(tmp_path / "faces"), task="classification")
    config.train_data.classes = (0, 3)
    with pytest.raises(UserError, match="2 of the 5 test classes are not trained on, 'class3' for one"):
        train.train(config, str(tmp_path / "run"), StopAt())
    assert not (tmp_path / "run").exists()


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="unknown task 'regression'; known: embedding, classification, multilabel, "
                                        "detection"):
        tasks.get("regression")
    assert all(isinstance(task, tasks.Task) for task in tasks.TASKS.values()) and datasets.SOURCES
