import json

import pytest

from geodesic.configs import default
from geodesic.experiments.process import workdir


def test_the_same_configuration_may_come_back(tmp_path):
    config = default.get_config()
    workdir.open_for(str(tmp_path / "run"), config)
    config.run.log_every_steps = 7  # how a run is watched is not what it is
    workdir.open_for(str(tmp_path / "run"), config)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["run"]["log_every_steps"] == 7


def test_another_is_refused_with_what_differs(tmp_path):
    config = default.get_config()
    workdir.open_for(str(tmp_path), config)
    config.seed, config.loss.arcface.margin = 1, 0.2
    with pytest.raises(ValueError, match=r"loss\.arcface\.margin 0\.5 \(now 0\.2\), seed 0 \(now 1\)\."):
        workdir.open_for(str(tmp_path), config)


def test_a_run_of_an_older_version_is_the_same_run(tmp_path):
    """A field that is newer than the run has its default there; and data that have moved are the same data."""
    config = default.get_config()
    workdir.open_for(str(tmp_path), config)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["optimizer"]["value_clip"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    config.train_data.path = "elsewhere"
    workdir.open_for(str(tmp_path), config)
    config.optimizer.value_clip = 1.0
    with pytest.raises(ValueError, match=r"another configuration: optimizer\.value_clip 0\.0 \(now 1\.0\)\."):
        workdir.open_for(str(tmp_path), config)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    workdir.write_json(str(path), {"a": 1})

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(KeyboardInterrupt):
        workdir.write_json(str(path), {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]
