import jax
import pytest

from benchmarks import scaling
from geodesic.errors import UserError
from geodesic.experiments.compiled import peaks
from geodesic.experiments.process import mesh as meshes
from tests.experiments import tiny

CHIP = peaks.Chip(flops=1e12, bandwidth=1e11, link=1e9, island=8, slow_link=1e8)


@pytest.fixture(scope="module")
def programs():
    compiled = lambda count: scaling.compiled(tiny.config(loss__num_classes=64), meshes.make(jax.devices()[:count]), 2)
    return [compiled(2), compiled(8)]


def test_gradients_move_the_same_bytes_on_any_number_of_chips(programs):
    few, many = (program["moved"] for program in programs)
    batch = 4 * 2 * 2  # one float32 of each row's sums for the softmax grows with the batch; all else is gradients
    assert abs(many["all-reduce"] - few["all-reduce"]) <= 16 * batch < few["all-reduce"] / 10
    assert many["all-gather"] == 4 * few["all-gather"]
    assert programs[0]["flops"] == pytest.approx(programs[1]["flops"], rel=0.2) and programs[0]["flops"] > 0
    assert f"all-gather x {4:.3f}" in scaling.independence(programs)


def test_seconds_of_collectives():
    seconds = lambda kind, chips: scaling.moving(kind, 8_000_000, chips, CHIP)
    assert seconds("all-reduce", 1) == 0
    assert seconds("all-gather", 8) == pytest.approx(7e-3)
    assert seconds("all-reduce", 8) == pytest.approx(14e-3)
    assert seconds("reduce-scatter", 8) == pytest.approx(56e-3)  # it leaves an eighth
    # Among 2 islands each chip sends half of its eighth, too.
    assert seconds("all-gather", 16) == pytest.approx(7e-3 + 5e-3)
    assert seconds("all-to-all", 16) == pytest.approx(7e-3 + 40e-3)


def test_prediction():
    found = scaling.Prediction("x", 8, 0.010, 0.011, {"all-reduce": 0.008, "all-gather": 0.004})
    assert found.efficiency == pytest.approx(10 / 22) and found.overlapped == pytest.approx(10 / 12)
    assert found.limit == "collectives"
    assert scaling.Prediction("x", 8, 0.010, 0.011, {"all-reduce": 0.008}).limit == "memory"


def test_page(programs):
    record = {"config": "tiny", "image_size": 16, "dtype": "float32", "classes": 64, "batch_per_chip": 2,
              "target": "cpu", "share_of_peak": 0.3, "programs": programs,
              "environment": {"packages": {"jax": "0"}, "machine": "m", "date": "2000-01-01"}}
    text = scaling.markdown(record)
    assert text.count("| v5e |") == text.count("| H100 |") == 2 and "TPU v4 99 % at 64" in text


def test_data_is_not_read():
    with pytest.raises(UserError, match=r"num_classes=\.\.\. is required"):
        scaling.compiled(tiny.config(), meshes.make(jax.devices()[:1]), 2)
