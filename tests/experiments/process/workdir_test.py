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


def test_the_hash_names_what_decides_the_result():
    config = default.get_config()
    first = workdir.config_hash(config)
    config.run.checkpoint_every_steps = 1
    assert workdir.config_hash(config) == first
    config.optimizer.momentum = 0.8
    assert workdir.config_hash(config) != first


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
