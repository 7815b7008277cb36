import fcntl
import json
import os
import time
import types

import fsspec
import fsspec.implementations.dirfs
import pytest

from geodesic.errors import UserError
from geodesic.experiments import runs
from geodesic.experiments.process import lock, storage
from geodesic.experiments.process import workdir as workdirs
from tests import forked

LOSSES = [{"step": 1, "loss": 4.0}, {"step": 30, "loss": 2.5, "images_per_second": 80.0, "eta_seconds": 7.0}]
SCORES = {"step": 0, "recall@1": 0.5, "recall@2": 0.75, "map@r": 0.25}


def write(folder, records=(), ended=None, age=0.0, last_word=0.0):
    """age, last_word: seconds since its files, and goodput.json, were written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / workdirs.LOCK).touch()
    workdirs.write_json(workdirs.config_path(str(folder)), {"batch_size": 8})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if ended is not None:
        seconds = {"steps": 3.0, "start": 1.0, "input": 0.0, "saving": 0.0, "evaluation": 0.0, "restarts": 0.0}
        workdirs.write_json(str(folder / "goodput.json"), {"seconds": seconds, "starts": 2, "time": 0, "ended": ended,
                                                           "marks": {}})
    for path in folder.iterdir():
        then = time.time() - (last_word if path.name == "goodput.json" else age)
        os.utime(path, (then, then))
    return folder


def test_runs_are_found_wherever_they_lie_and_nothing_else(tmp_path):
    for name in ("b", "sweep/trials/one", "a"):
        write(tmp_path / name, LOSSES)
    (tmp_path / "weights").mkdir()
    workdirs.write_json(workdirs.config_path(str(tmp_path / "weights")), {})  # imported: not a run
    write(tmp_path / "b" / "wandb" / "copy")  # inside of a run
    find = lambda folder: [os.path.relpath(path, tmp_path) for path in runs.find(str(folder))]
    assert find(tmp_path) == ["a", "b", "sweep/trials/one"] and find(tmp_path / "a") == ["a"]
    with pytest.raises(UserError, match="there is no folder '/nowhere'"):
        runs.find("/nowhere")


class Bucket(fsspec.implementations.dirfs.DirFileSystem):
    """gs://bucket is a folder of this name."""

    def _join(self, path):
        return super()._join(storage._key(path))


def test_runs_of_a_bucket(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(storage, "_filesystem", lambda kind: Bucket(str(tmp_path), fsspec.filesystem("file")))
    monkeypatch.setattr(storage, "check", lambda *_: None)  # gcsfs need not be there
    runs_of = tmp_path / "bucket" / "runs"
    for name in ("a", "a-b", "sweep/one"):
        write(runs_of / name, LOSSES, ended="finished", age=9000, last_word=9000)
    write(runs_of / "a" / "inside")
    (runs_of / "a" / "metrics.jsonl").unlink()
    (runs_of / "a" / "metrics").mkdir()
    (runs_of / "a" / "metrics" / "000001-000000.jsonl").write_text('{"step": 7, "loss": 1.0}\n')
    assert runs.find("gs://bucket/runs/") == [f"gs://bucket/runs/{name}" for name in ("a", "a-b", "sweep/one")]
    runs.main(None, types.SimpleNamespace(json=True, scores=[]), ["gs://bucket/runs"])
    found = {run["run"]: run for run in json.loads(capsys.readouterr().out)}
    assert {name: (run["state"], run["step"], run["goodput"]) for name, run in found.items()} == {
        "a": ("finished", 7, 0.75), "a-b": ("finished", 30, 0.75), "sweep/one": ("finished", 30, 0.75)}
    assert found["a"]["age"] < 60 < found["a-b"]["age"]
    with pytest.raises(UserError, match="there is no folder 'gs://bucket/nothing'"):
        runs.find("gs://bucket/nothing")


def test_a_damaged_run_hides_no_other(tmp_path, capsys):
    write(tmp_path / "good", LOSSES)
    write(tmp_path / "torn")
    (tmp_path / "torn" / "metrics.jsonl").write_text("no JSON\n")
    runs.main(None, types.SimpleNamespace(json=False, scores=[]), [str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["good", "stopped"], ["torn", "damaged"]]


def test_what_a_run_says_of_itself(tmp_path):
    described = runs.describe(str(write(tmp_path, [SCORES, *LOSSES], ended="stopped", age=500, last_word=300)))
    assert described.pop("age") == pytest.approx(300, abs=5)
    # 7 s to go, at 80 images per second in batches of 8.
    assert described == {"state": "stopped", "step": 30, "total_steps": 100, "loss": 2.5, "goodput": 0.75, "starts": 2,
                         "scores": {"recall@1": 0.5, "recall@2": 0.75, "map@r": 0.25}}


def test_a_run_that_has_said_nothing_yet(tmp_path):
    described = runs.describe(str(write(tmp_path)))
    assert described.pop("age") < 5
    assert described == {"state": "stopped", "step": None, "total_steps": None, "loss": None, "goodput": None,
                         "starts": None, "scores": {}}


END = {"step": 40, "loss": 2.0, "images_per_second": 80.0, "eta_seconds": 0.0}


@pytest.mark.parametrize(("records", "ended", "last_word", "state"), [
    (LOSSES, "finished", 9e5, "finished"), (LOSSES, "stopped", 9e5, "stopped"), (LOSSES, "failed", 9e5, "failed"),
    (LOSSES, "", 500, "killed"), (LOSSES, "", 30, "running"),  # on another machine
    (LOSSES, None, 0, "stopped"), ([*LOSSES, END], None, 0, "finished"),  # of an older version
])
def test_the_state_of_a_run(tmp_path, records, ended, last_word, state):
    assert runs.describe(str(write(tmp_path, records, ended, 1e6, last_word)))["state"] == state


def test_one_that_hung_is_told_until_it_goes_on(tmp_path):
    write(tmp_path, LOSSES, ended="", age=5, last_word=5)
    (tmp_path / "stalled.txt").touch()
    assert runs.describe(str(tmp_path))["state"] == "hung"
    os.utime(tmp_path / "stalled.txt", (0, 0))
    assert runs.describe(str(tmp_path))["state"] == "running"


def test_one_whose_folder_is_held_is_running_and_looking_does_not_disturb_it(tmp_path, monkeypatch):
    write(tmp_path, LOSSES, ended="", age=900, last_word=900)
    with lock.held(str(tmp_path)):
        monkeypatch.setattr(fcntl, "flock", None)
        assert lock.is_held(str(tmp_path)) and runs.describe(str(tmp_path))["state"] == "running"
        assert not lock.is_held(str(tmp_path / "nowhere"))
    assert not lock.is_held(str(tmp_path)) and runs.describe(str(tmp_path))["state"] == "killed"


def program(*words):
    return forked.program("runs", *words)


def test_the_table_and_the_json(tmp_path):
    write(tmp_path / "first run", [SCORES, *LOSSES], ended="finished", age=7200, last_word=7200)
    write(tmp_path / "second", [{"step": 1, "loss": 4.0}], age=3 * 86400)
    assert program(tmp_path).stdout == (
        "run        state       step  loss  recall@1  map@r  goodput  age\n"
        "first run  finished  30/100   2.5       0.5   0.25      75%  2 h\n"
        "second     stopped        1     4         -      -        -  3 d\n")
    assert "recall@2  eer" in program(tmp_path, "--scores=recall@2,eer").stdout
    found = json.loads(program(tmp_path / "second", tmp_path, "--json").stdout)
    assert [run["run"] for run in found] == [str(tmp_path / "second"), "first run", "second"]
    (tmp_path / "empty").mkdir()
    assert program(tmp_path / "empty").stdout == f"no runs below {tmp_path / 'empty'}\n"
    nothing = program()
    assert nothing.returncode == 1 and nothing.stderr.startswith("error: give the folder below which the runs are")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"),
                                               (7200, "2 h"), (172_800, "2 d"), (-5, "0 s")])
def test_durations(seconds, text):
    assert runs.duration(seconds) == text
