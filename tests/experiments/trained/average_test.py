"""A run with a running average, from its first step to its use."""

import signal

import numpy as np
import pytest

import geodesic
from geodesic.experiments import train
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import progress
from geodesic.experiments.protocols import evaluation
from geodesic.experiments.training import data
from tests.experiments import tiny
from tests.experiments.train_test import StopAt, one_device  # noqa: F401


def digests(folder):
    with checkpoint.Checkpoints(str(folder)) as checkpoints:
        return checkpoints.read(lambda name: True)[1]["digests"]


@pytest.mark.slow
def test_a_run_with_an_average(one_device, tmp_path, monkeypatch):  # noqa: F811
    """It goes on bit for bit, is evaluated by the average, and is loaded so, with what classifies."""
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=5, evaluation__every_epochs=1.0,
                         optimizer__ema_decay=0.9, optimizer__learning_rate=0.05)
    assert train.train(config, str(tmp_path / "whole"), StopAt()) == 0
    assert train.train(config, str(tmp_path / "parts"), StopAt(10)) == 128 + signal.SIGTERM  # after three steps
    assert train.train(config, str(tmp_path / "parts"), StopAt()) == 0
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")
    scores = [[record for record in progress.evaluations(str(tmp_path / name))] for name in ("parts", "whole")]
    assert scores[0] == scores[1] and len(scores[0]) == 4  # at 0, 2, 4 and 5

    with checkpoint.Checkpoints(str(tmp_path / "whole")) as checkpoints:
        arrays, _ = checkpoints.read(lambda name: not name.startswith("opt_state"))
    monkeypatch.setattr("geodesic.experiments.process.mesh.make", lambda devices=None: one_device)
    averaged = geodesic.load(tmp_path / "whole")
    raw = geodesic.load(tmp_path / "whole", overrides={"evaluation.weights": "raw"})
    for run, place in ((averaged, "ema/"), (raw, "")):
        np.testing.assert_array_equal(run.variables["params"]["conv1"]["kernel"],
                                      arrays[f"{place}params/embedder/conv1/kernel"])
        np.testing.assert_array_equal(run.variables["batch_stats"]["bn1"]["mean"],
                                      arrays[f"{place}batch_stats/bn1/mean"])
        np.testing.assert_array_equal(run.classifier.params["prototypes"], arrays[f"{place}params/loss/prototypes"])
    assert averaged.digest != raw.digest

    test = data.test_source(config)
    found = evaluation.score(averaged.embed(test, normalized=False), test.labels, config)
    assert {name: scores[0][-1][name] for name in found if name in scores[0][-1]} == pytest.approx(
        {name: value for name, value in found.items() if name in scores[0][-1]}, abs=1e-6)


def test_other_weights_than_there_are_are_refused(one_device, tmp_path):  # noqa: F811
    config = tiny.config(tiny.faces(tmp_path / "faces"), evaluation__weights="last")
    with pytest.raises(geodesic.UserError, match=r"evaluation\.weights is one of ema, raw; got 'last'"):
        train.train(config, str(tmp_path / "run"), StopAt())
    assert not (tmp_path / "run" / "config.json").exists()
