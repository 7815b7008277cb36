import subprocess
import sys

import jax
import pytest

from geodesic.experiments import plan
from geodesic.experiments.process import cli
from geodesic.experiments.process import mesh as meshes
from tests.experiments import tiny

CLASSES = 1000


def planned(devices=8, **changes):
    config = tiny.config(loss__num_classes=CLASSES, **changes)
    return plan.make_plan(config, meshes.make(jax.devices()[:devices]))


def test_arrays_are_those_of_one_device():
    found = planned()
    prototypes = 4 * 16 * CLASSES // 8
    assert found.arrays["loss, by class"] == found.arrays["optimizer, by class"] == prototypes  # SGD has one copy
    assert found.arrays["batch"] == 16 * 16 * 3 + 4
    assert found.logits == 4 * 8 * CLASSES // 8
    assert found.temporaries > found.logits
    assert found.total == sum(found.arrays.values()) + found.temporaries + found.outputs
    # Embeddings [8, 16] go out; every parameter of the trunk has its gradient summed.
    assert 4 * 8 * 16 <= found.moved["all-gather"] < 4 * 8 * CLASSES // 8
    assert found.moved["all-reduce"] > found.arrays["embedder"]
    assert "all-to-all" not in found.moved


def test_configuration_reaches_the_plan():
    found = planned(devices=2, optimizer__name="adamw", loss__chunk_size=125, accumulation_steps=2)
    assert found.arrays["optimizer, by class"] == 2 * found.arrays["loss, by class"] == 2 * 4 * 16 * CLASSES // 2
    assert found.logits == 4 * 125 * 4


def test_a_bias_and_its_moments_are_split_by_class_too():
    found = planned(loss__name="softmax", optimizer__name="adamw")
    weights_and_bias = 4 * (16 + 1) * CLASSES // 8
    assert found.arrays["loss, by class"] == weights_and_bias and found.arrays["loss, the rest"] == 0
    assert found.arrays["optimizer, by class"] == 2 * weights_and_bias
    assert found.arrays["optimizer, the rest"] == 2 * found.arrays["embedder"] + 4 + 4  # and the counts of updates


def test_a_frozen_trunk_has_no_backward_pass():
    learns, frozen = (planned(devices=2, batch_size=32, optimizer__trunk_learning_rate_factor=factor)
                      for factor in (1.0, 0.0))
    assert frozen.temporaries < learns.temporaries / 5
    assert frozen.flops < learns.flops / 2.5  # of a convolution's three products, one is left
    neck = 4 * (16 * 16 + 16)
    assert neck < frozen.moved["all-reduce"] < learns.moved["all-reduce"] - frozen.arrays["embedder"] + 2 * neck
    assert frozen.arrays == learns.arrays


def test_below_a_head_a_frozen_trunk_has_no_backward_pass():
    """What is left of a step is one forward pass of the trunk, and what a head of two layers and the loss take."""
    def of(factor):
        config = {"head__name": "mlp", "head__mlp__hidden_sizes": (64, 16)}
        return planned(devices=2, batch_size=32, optimizer__trunk_learning_rate_factor=factor, **config)

    learns, frozen = of(1.0), of(0.0)
    head = 4 * (16 * 64 + 64 + 64 * 16 + 16)
    assert frozen.temporaries < learns.temporaries / 5 and frozen.flops < learns.flops / 2.5
    assert head < frozen.moved["all-reduce"] < learns.moved["all-reduce"] - frozen.arrays["embedder"] + 2 * head


def test_verdict():
    found = plan.Plan(8, {"prototypes": 2 * plan.GIB}, plan.GIB, 0, 2**20, {"all-gather": 3 * 2**10})
    text = plan.describe(found, memory_gib=4)
    assert "FITS: 3 GiB is 75% of 4 GiB" in text and "of 8" in text
    assert "all-gather" in text and "3 KiB" in text and "one copy of the logits is 1 MiB" in text
    assert "DOES NOT FIT: 3 GiB is 150% of 2 GiB" in plan.describe(found, memory_gib=2)
    assert "FIT" not in plan.describe(found, memory_gib=0)


def test_requests_that_cannot_run_are_refused():
    with pytest.raises(ValueError, match="batch_size 8 does not divide into 3 devices"):
        planned(devices=3)


@pytest.mark.slow
def test_more_devices_than_there_are():
    run = subprocess.run(
        [sys.executable, "-m", "geodesic.experiments.plan", "--config=configs/quickstart.py", "--devices=64",
         "--memory_gib=0.001", "--config.batch_size=64", "--config.evaluation.batch_size=64"],
        capture_output=True, text=True, cwd=cli.ROOT, timeout=300, check=False)
    assert run.returncode == 1, run.stderr
    assert "per device, of 64" in run.stdout and "DOES NOT FIT" in run.stdout
