import csv
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from geodesic.errors import UserError
from geodesic.experiments import lr_range
from geodesic.experiments.process import mesh as meshes
from tests.experiments import tiny

RATES = np.geomspace(1e-5, 10, 121)  # twenty steps for a factor of ten


def test_smoothed_is_the_average_without_its_start():
    """(.95 * .05 * 4 + .05 * 2) / (1 - .95^2) for the second."""
    assert lr_range.smoothed([4.0, 2.0]) == pytest.approx([4, (0.95 * 0.2 + 0.1) / 0.0975])
    assert lr_range.smoothed([3.0] * 5) == pytest.approx([3.0] * 5)


def test_the_suggestions_of_a_known_curve():
    """The loss falls fastest at a rate of .001, is lowest at about .1, and the average follows some steps later."""
    losses = 3 - 2 / (1 + (1e-3 / RATES) ** 2) + (RATES / 2) ** 2
    found = lr_range.suggest(RATES, losses)
    assert 1e-3 < found.steepest < 4e-3 and 0.01 < found.tenth_of_lowest < 0.1


def test_a_spike_is_not_the_steepest_descent():
    losses = 3 - 2 / (1 + (1e-3 / RATES) ** 2) + (RATES / 2) ** 2
    losses[10] += 1.0  # and its end, a step later, a fall
    assert 1e-3 < lr_range.suggest(RATES, losses).steepest < 4e-3


def test_a_loss_that_only_rises_suggests_nothing():
    with pytest.raises(UserError, match="the loss never fell in 20 steps: lower --lowest"):
        lr_range.suggest(RATES[:20], np.arange(20.0))


def test_a_loss_has_diverged_at_four_times_its_lowest_too():
    falls = [*np.linspace(10, 1, 100), *[1.0] * 100]
    assert [lr_range.has_diverged([*falls, *[high] * 60], 400) for high in (3.0, 6.0)] == [False, True]


def options(folder, **changes):
    return SimpleNamespace(**{"workdir": str(folder / "rates"), "steps": 40, "lowest": 1e-5, "highest": 1e3} | changes)


def test_the_program(tmp_path, capsys, monkeypatch):
    mesh = meshes.make(jax.devices()[:1])
    monkeypatch.setattr(meshes, "make", lambda devices=None: mesh)
    config = tiny.config(tiny.faces(tmp_path / "faces"), loss__name="softmax")
    assert lr_range.main(config, options(tmp_path)) == 0
    record = json.loads((tmp_path / "rates" / "lr_range.json").read_text())
    count = len(record["loss"])
    assert 10 < count < 40 and record["smoothed"][-1] > 1.25 * np.mean(record["loss"][:4])  # and there it was ended
    assert record["learning_rate"] == pytest.approx(np.geomspace(1e-5, 1e3, 40)[:count])
    assert 1e-5 < record["suggestion"]["steepest"] < record["learning_rate"][np.argmin(record["smoothed"])]
    rows = list(csv.reader((tmp_path / "rates" / "lr_range.csv").open()))
    assert rows[0] == ["learning_rate", "loss", "smoothed"] and len(rows) == count + 1
    assert float(rows[1][1]) == record["loss"][0]
    assert (tmp_path / "rates" / "lr_range.png").read_bytes().startswith(b"\x89PNG")
    told = capsys.readouterr().out
    assert f"{count} steps, from 1.00e-05 to" in told and "the loss diverged" in told and "a first guess" in told
    assert config.total_steps == 0


@pytest.mark.parametrize("changes", [{"steps": 9}, {"lowest": 0.0}, {"highest": 1e-6}])
def test_a_sweep_that_is_none_is_refused(tmp_path, changes):
    with pytest.raises(UserError, match="--steps is 10 at least, and --lowest above 0"):
        lr_range.main(tiny.config(), options(tmp_path, **changes))


def test_the_rate_of_a_step_is_the_sweeps(tmp_path):
    """One step of plain SGD moves the embedder by its rate times the gradient."""
    config = tiny.config(tiny.faces(tmp_path / "faces"), optimizer__momentum=0.0, optimizer__weight_decay=0.0)
    mesh, told = meshes.make(jax.devices()[:1]), []
    make = lr_range.steps.make_train_step

    def watched(model, mesh):
        step = make(model, mesh)

        def run(state, batch):
            state, scalars = step(state, batch)
            told.append(float(scalars["learning_rate"]))
            return state, scalars
        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lr_range.steps, "make_train_step", watched)
        losses = lr_range.sweep(config, np.geomspace(1e-6, 1e-4, 12), mesh)
    assert told == pytest.approx(np.geomspace(1e-6, 1e-4, 12), rel=1e-4) and len(losses) == 12
