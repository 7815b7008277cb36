import jax

from geodesic.experiments.compiled import peaks


def test_published_by_the_name_that_jax_gives():
    assert peaks.published("TPU v5 lite") is peaks.CHIPS["v5e"]
    assert peaks.published("NVIDIA H100 80GB HBM3") is peaks.CHIPS["H100"]
    assert peaks.published("cpu") is None


def test_measured():
    found = peaks.measure(jax.devices()[0], "float32", repeats=1)
    assert found.flops > 0 and found.bandwidth > 0
