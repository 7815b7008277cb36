import json

import pytest

from geodesic.experiments.process import workdir


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


def test_a_path_object_is_written_and_read(tmp_path):
    workdir.write_json(tmp_path / "a" / "x.json", {"a": 1})
    assert workdir.read_json(tmp_path / "a" / "x.json") == {"a": 1}
