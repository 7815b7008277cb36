from types import SimpleNamespace

import pytest

from geodesic.experiments.training import optimizer, summary
from tests.experiments import tiny


@pytest.mark.parametrize("name", ["constant", "step", "step_every", "polynomial", "cosine"])
def test_rates_are_the_schedules(name):
    config = tiny.config(schedule__name=name, schedule__warmup_epochs=1.0)
    schedule = optimizer.make_schedule(config, 2.5, 50)
    found = summary.rates(SimpleNamespace(schedule=schedule, total_steps=50))
    assert found == pytest.approx({step: float(schedule(step)) for step in (0, 12, 25, 49)})
