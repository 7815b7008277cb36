"""A run of an older version (older_run/make.py says of which) is used, and goes on, as if nothing had changed."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

import geodesic
from geodesic.experiments import train
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import progress
from tests.experiments import tiny

GOLDEN = pathlib.Path(__file__).parent / "older_run"


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    shutil.copytree(GOLDEN / "run", tmp_path / "run")
    tiny.faces(tmp_path / "photos", 8, 4)
    monkeypatch.chdir(tmp_path)
    mesh = meshes.make(jax.devices()[:1])
    monkeypatch.setattr(meshes, "make", lambda devices=None: mesh)
    return tmp_path / "run"


def test_it_is_loaded(workdir):
    run = geodesic.load(workdir)
    assert run.digest == json.loads((GOLDEN / "whole.json").read_text())["digest"] and run.step == 2
    assert run.config.loss.margin_pairs.beta == 1.1
    np.testing.assert_allclose(run.embed("photos", normalized=False), np.load(GOLDEN / "embeddings.npy"), rtol=1e-4,
                               atol=1e-5)
    assert run.classify("photos/class0/0.jpg").shape == (1, 3)
    assert run.same("photos/class6/0.jpg", "photos/class6/0.jpg")
    with pytest.raises(geodesic.UserError, match="does not hold the names of its classes"):
        run.class_names  # noqa: B018


def test_it_goes_on(workdir, capsys):
    assert train.train(geodesic.load(workdir).config, str(workdir)) == 0
    assert "resuming at step 2" in (output := capsys.readouterr().out) and "of an older version" in output
    losses = [record["loss"] for record in progress.read_metrics(str(workdir)) if "loss" in record]
    np.testing.assert_allclose(losses, json.loads((GOLDEN / "whole.json").read_text())["losses"], rtol=1e-4)
    assert geodesic.load(workdir).class_names == ["class0", "class1", "class2"]
