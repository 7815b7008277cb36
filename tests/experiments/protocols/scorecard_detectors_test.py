"""Detectors of a scorecard: what is taken from their evaluations, and which are none of the contestants'."""

import json
import pathlib
import types

import numpy as np
import pytest

from geodesic.configs import bccd
from geodesic.errors import UserError
from geodesic.experiments.protocols import scorecard_detectors
from geodesic.experiments.trained import loading

METRICS = {name: {"value": value, "low": value - 0.1, "high": value + 0.1}
           for name, value in (("ap", 0.5), ("ap50", 0.8), ("ap75", 0.6), ("ar@1", 0.2))}


def network(workdir: str, config, weights: float, **parts) -> types.SimpleNamespace:
    params = {"conv1": {"kernel": np.full(3, weights)}} | {name: {"kernel": np.ones(2)} for name in parts}
    return types.SimpleNamespace(workdir=workdir, config=config, digest="d", variables={
        "params": params, "batch_stats": {"bn1": {"mean": np.full(2, weights)}}})


@pytest.fixture
def detectors(tmp_path, monkeypatch):
    """Of the run, of the reference and of a trunk drawn at random: contestant -> workdir; and the contestants."""
    made = {}
    for name, weights, start in (("run", 1.0, "runs/faces"), ("reference", 2.0, "weights"), ("untrained", 3.0, "")):
        config = bccd.get_config()
        config.init_from = start
        folder = tmp_path / name
        folder.mkdir()
        made[str(folder)] = network(str(folder), config, weights, head=True)
        (folder / "evaluation.json").write_text(json.dumps({
            "checkpoint_digest": "d", "protocol": {"records": "r", "source": "coco cells"},
            "detection": {"metrics": METRICS, "interval": {"level": 0.95, "over": "images", "resamples": 1000}}}))
    monkeypatch.setattr(loading, "stored_config", lambda workdir: made[workdir].config)
    monkeypatch.setattr(loading, "load", lambda workdir, config: made[workdir])
    models = {name: network(name, bccd.get_config(), weights) for name, weights in (
        ("run", 1.0), ("reference", 2.0), ("untrained", 9.0))}
    return dict(zip(models, made, strict=True)), models, made


def test_what_is_taken(detectors):
    folders, models, _ = detectors
    found = scorecard_detectors.read(folders, models, "untrained")
    assert found["of"] == {name: {metric: METRICS[metric] for metric in ("ap", "ap50", "ap75")} for name in folders}
    assert found["detectors"]["reference"] == {"workdir": folders["reference"], "digest": "d"}
    assert found["source"] == "coco cells" and found["interval"]["over"] == "images"
    assert scorecard_detectors.read({}, models, "untrained")["of"] == {}


@pytest.mark.parametrize(("change", "told"), [
    ({"task": "embedding"}, "is of --config.task=embedding, expected a detector"),
    ({"optimizer": {"trunk_learning_rate_factor": 0.1}}, "the trunk of .* has learnt with its detector"),
    ({"embedder": {"name": "resnet101"}}, "has a resnet101, and reference is a resnet50"),
    ({"num_epochs": 7}, "differ in their recipe: they are no comparison"),
])
def test_detectors_that_are_no_comparison(detectors, change, told):
    folders, models, made = detectors
    made[folders["reference"]].config.update(change)
    with pytest.raises(UserError, match=told):
        scorecard_detectors.read(folders, models, "untrained")


def test_other_trunks_and_other_images(detectors):
    folders, models, made = detectors
    with pytest.raises(UserError, match="'other', and this scorecard has run, reference, untrained"):
        scorecard_detectors.read({"other": folders["run"]}, models, "untrained")
    with pytest.raises(UserError, match=r"the trunk of .* is not that of reference \(reference\): train a detector"):
        scorecard_detectors.read({"reference": folders["run"]}, models, "untrained")
    with pytest.raises(UserError, match="starts from runs/faces, and that of untrained is drawn at random"):
        scorecard_detectors.read({"untrained": folders["run"]}, models, "untrained")
    path = pathlib.Path(folders["reference"], "evaluation.json")
    path.write_text(path.read_text().replace('"records": "r"', '"records": "others"'))
    with pytest.raises(UserError, match="differ in their test images"):
        scorecard_detectors.read(folders, models, "untrained")
    made[folders["reference"]].digest = "e"
    with pytest.raises(UserError, match="is of another checkpoint: geodesic evaluate"):
        scorecard_detectors.read(folders, models, "untrained")
