import math
from types import SimpleNamespace

import jax
import pytest

from geodesic.experiments.process import accelerators
from geodesic.experiments.training import model, optimizer, summary
from tests.experiments import tiny


@pytest.mark.parametrize("name", ["constant", "step", "step_every", "polynomial", "cosine"])
def test_rates_are_the_schedules(name):
    config = tiny.config(schedule__name=name, schedule__warmup_epochs=1.0)
    schedule = optimizer.make_schedule(config, 2.5, 50)
    found = summary.rates(SimpleNamespace(schedule=schedule, total_steps=50))
    assert found == pytest.approx({step: float(schedule(step)) for step in (0, 12, 25, 49)})


def described(**changes):
    config = tiny.config(**changes)
    built, mesh = tiny.built(config, jax.devices()[:2], classes=5, examples=20)
    lines = summary.describe(config, built, model.abstract_state(built, mesh), mesh).splitlines()
    return {line[2:13].strip(): line[13:] for line in lines}


def test_the_summary_has_the_sizes_of_the_run():
    lines = described(accumulation_steps=2)
    # Stem 3*3*3*8 and BN; two blocks of two 3x3 convolutions with their BNs, the second twice as wide and projected;
    # the neck of 16 * 16 + 16.
    count = 216 + 16 + 2 * (576 + 16) + (1152 + 32) + (2304 + 32) + (128 + 32) + 272
    assert f"tiny, {count:,} parameters, float32, 16 px -> 16 (layer stage2, average pooling, neck linear)" in (
        lines["embedder"])
    assert lines["loss"].endswith("5 classes, 96 parameters")  # six rows over two devices
    assert lines["batch"] == "8 = 2 device(s) x 2 accumulation step(s) x 2"
    assert lines["steps"] == "5 (2.0 epochs of 2.50 steps)"
    expected = math.log(5) + 16 ** 2 / (2 * 16) + 16 * math.sin(0.5)
    assert lines["start loss"].startswith(f"about {expected:.2f} expected at step 0")


def test_an_accelerator_comes_with_advice(monkeypatch):
    assert "advice" not in described()
    monkeypatch.setattr(accelerators, "advice", lambda platform, dtype, images: f"{platform} {dtype} {images}")
    assert described()["advice"] == "cpu float32 4"


def test_an_embedding_without_a_projection_has_no_neck():
    lines = described(embedder__embedding_size=0, loss__name="triplet")
    assert "-> 16 (layer stage2, average pooling, no neck)" in lines["embedder"]
    assert "start loss" not in lines


def test_the_work_of_an_image_is_counted_where_the_devices_backend_does_not(monkeypatch):
    """jax's Lowered.cost_analysis() answers None for the backends of GPUs and TPUs; runs start there all the same."""
    config = tiny.config()
    built, _ = tiny.built(config, jax.devices()[:1], classes=5, examples=20)
    counted = summary.forward_flops(built)
    lower = type(jax.jit(lambda x: x).lower(1.0))
    analyse = lower.cost_analysis
    monkeypatch.setattr(lower, "cost_analysis",
                        lambda self: analyse(self) if jax.config.jax_default_device == jax.devices("cpu")[0] else None)
    assert summary.forward_flops(built) == counted > 0
    monkeypatch.setattr(jax, "local_devices", lambda **_: (_ for _ in ()).throw(RuntimeError("no CPU backend")))
    assert summary.forward_flops(built) is None
    assert "compute" not in described()
