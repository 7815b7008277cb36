import numpy as np
import pytest

from benchmarks import at_scale


def simulated(**changes):
    usual = {"failures_per_day": 24.0, "save_blocks": 0.0, "save_takes": 0.0, "restart": 0.0, "interval": 60.0}
    return at_scale.goodput(usual | changes, np.random.default_rng(0), days=200)


def test_a_failure_costs_the_restart_and_half_an_interval():
    assert simulated() == pytest.approx(1 - 30 / 3600, abs=1e-3)
    assert simulated(restart=360.0) == pytest.approx(3570 / 3960, abs=5e-3)
    assert simulated(save_blocks=6.0) == pytest.approx((1 - 33 / 3600) / 1.1, abs=2e-3)
    assert simulated(save_takes=60.0) == pytest.approx(1 - 90 / 3600, abs=2e-3)


@pytest.mark.slow
def test_the_state_of_many_devices_is_split_by_class():
    few, many = (at_scale.state_bytes(chips, 80_000) for chips in (2, 8))
    assert few["the rest"] == many["the rest"] and few["checkpoint"] == many["checkpoint"]
    # float32 prototypes and momentum of 80,000 x 512 over the devices
    assert few["by class"] == 4 * many["by class"] >= 2 * 4 * 40_000 * 512
