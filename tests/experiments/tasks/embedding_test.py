"""A run whose examples are mixed: two labels and a weight go from the loader to the loss."""

import jax
import numpy as np
import pytest

from geodesic import losses
from geodesic.errors import UserError
from geodesic.experiments import train
from geodesic.experiments.process import progress
from geodesic.experiments.training import model, step
from tests.experiments import tiny
from tests.experiments.train_test import StopAt, final_state, one_device  # noqa: F401

MIXED = {"augment__mixup_alpha": 0.4, "augment__cutmix_alpha": 1.0, "loss__name": "softmax"}


def batch(seed):
    rng = np.random.default_rng((seed, 1))
    return tiny.batch(seed=seed) | {"other_label": rng.integers(0, 5, 8, np.int32),
                                    "label_weight": rng.random(8).astype(np.float32)}


def steps(devices):
    """(losses, the parameters) of three steps over so many devices."""
    config = tiny.config(**MIXED, embedder__batch_norm="synchronised")
    built, mesh = tiny.built(config, jax.devices()[:devices])
    assert {*built.batch} == {"image", "label", "other_label", "label_weight"}
    state, train_step, found = model.init_state(built, mesh), step.make_train_step(built, mesh), []
    for seed in range(3):
        state, scalars = train_step(state, step.put_train_batch(built, mesh, batch(seed)))
        found.append(float(scalars["loss"]))
    return found, jax.device_get(state.params)


@pytest.mark.parametrize("numbers", [(8,), pytest.param((2, 4), marks=pytest.mark.slow)])
def test_mixed_targets_on_many_devices(numbers):
    expected, params = steps(1)
    for devices in numbers:
        found, others = steps(devices)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        others["loss"] = jax.tree.map(lambda values: values[:5], others["loss"])
        for ours, theirs in zip(jax.tree.leaves(others), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-5)


def test_the_other_label_and_the_weight_reach_the_loss():
    config = tiny.config(**MIXED)
    loss = model.make_loss(config, 5, None)
    params, _ = loss.init(jax.random.key(0), 16)
    params["bias"] = np.arange(5, dtype=np.float32)
    targets = {name: values for name, values in batch(0).items() if name != "image"}
    value = float(loss.apply(params, {}, np.zeros((8, 16), np.float32), targets, jax.random.key(0))[0])
    weight = targets["label_weight"].astype(np.float64)
    mean = weight * targets["label"] + (1 - weight) * targets["other_label"]  # the bias of a class is its number
    assert value == pytest.approx(np.log(np.exp(np.arange(5)).sum()) - mean.mean(), rel=1e-6)


@pytest.mark.parametrize("name", ["arcface", "triplet", "combine"])
def test_losses_of_one_class_for_each_example_refuse_mixing(name, one_device, tmp_path):  # noqa: F811
    config = tiny.config(tiny.faces(tmp_path / "faces"), augment__cutmix_alpha=1.0, loss__name=name)
    config.loss.combine.softmax = 1.0
    with pytest.raises(UserError, match=f"two classes, and the loss {name} takes one: use sigmoid or softmax, or set"):
        train.train(config, str(tmp_path / "run"), StopAt())
    assert not (tmp_path / "run").exists()
    assert losses.build("softmax", num_classes=2).mixed_targets


@pytest.mark.slow
def test_a_mixed_run_goes_on_exactly(one_device, tmp_path):  # noqa: F811
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=5, accumulation_steps=2, **MIXED)
    assert train.train(config, str(tmp_path / "whole"), StopAt()) == 0
    assert train.train(config, str(tmp_path / "stopped"), StopAt(3)) > 128
    assert train.train(config, str(tmp_path / "stopped"), StopAt()) == 0
    whole, parts = (final_state(config, tmp_path / name, one_device)[0] for name in ("whole", "stopped"))
    assert int(whole.step) == 5 and jax.tree.all(jax.tree.map(np.array_equal, whole, parts))
    kept = [[(record["step"], record["loss"]) for record in progress.read_metrics(str(tmp_path / name))
             if "loss" in record] for name in ("whole", "stopped")]
    assert kept[0] == kept[1] and len(kept[0]) == 5
