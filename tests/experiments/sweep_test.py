"""A whole sweep, with a program that stands in for training."""

import os
import signal
import subprocess
import sys
import time

import pytest

from geodesic.errors import UserError
from geodesic.experiments import sweep
from geodesic.experiments.process import workdir
from geodesic.experiments.sweeping import running, trials
from tests.experiments.sweeping.sweeps import flags, write

FAKE = (("tests.experiments.sweeping.fake_program",),)
# The program sweep, in a process of its own that can be killed.
SWEEP = f"""
from geodesic.experiments import sweep
from geodesic.experiments.process import cli
from geodesic.experiments.sweeping import running
running.PROGRAMS = {FAKE}
cli.run(sweep.main, sweep.define_flags, required=("sweep", "workdir"), configured=False)
"""


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(running, "PROGRAMS", FAKE)
    monkeypatch.setattr(sweep.signal, "signal", lambda *_: None)


def states(tmp_path, path) -> list[str]:
    return [running.read(trial)["state"] for trial in trials.expand(trials.load_sweep(path), str(tmp_path / "runs"))]


def test_the_same_command_again_and_one_more_value(tmp_path, capsys):
    path = write(tmp_path / "s.py", (0.3,))
    assert sweep.main(None, flags(tmp_path, path)) == 0
    write(tmp_path / "s.py", (0.2, 0.3))
    capsys.readouterr()
    assert sweep.main(None, flags(tmp_path, path)) == 0
    assert "4 trials, 2 to run" in capsys.readouterr().out


def test_one_trial_by_its_number(tmp_path):
    path = write(tmp_path / "s.py", (0.2, 0.3))
    assert sweep.main(None, flags(tmp_path, path, trial=2)) == 0
    assert states(tmp_path, path) == ["waiting", "waiting", "done", "waiting"]
    with pytest.raises(UserError, match="the sweep has trials 0 to 3"):
        sweep.main(None, flags(tmp_path, path, trial=4))


def test_the_command_for_the_table_can_be_typed(tmp_path, capsys):
    path = write(tmp_path / "my sweep.py", (0.3,))
    sweep.main(None, flags(tmp_path, path))
    typed = f"geodesic sweep_report '--sweep={path}' --workdir={tmp_path}/runs"
    assert f"`{typed}` has the table" in capsys.readouterr().out


def test_a_trial_that_is_undone_at_the_end_is_named_and_the_status_says_so(tmp_path, capsys):
    path = write(tmp_path / "s.py", (0.2, 0.3), seeds=(0,))
    pruned = trials.expand(trials.load_sweep(path), str(tmp_path / "runs"))[1]  # by a search in the same workdir
    workdir.write_json(os.path.join(pruned.folder, "trial.json"), {"state": "pruned", "seconds": 1.0})
    assert sweep.main(None, flags(tmp_path, path)) == 1
    assert f"1 undone: pruned: margin=0.3, seed 0 ({pruned.hash})" in capsys.readouterr().out


def test_a_sweep_that_was_killed_in_the_middle_of_a_trial_leaves_none_undone(tmp_path):
    """The trial's program outlives it, and holds the trial's lock until after the new sweep has started."""
    path = write(tmp_path / "s.py", (0.6, 0.3), seeds=(0,))  # the first waits for a file called go
    waiting = trials.expand(trials.load_sweep(path), str(tmp_path / "runs"))[0]
    start = lambda name: subprocess.Popen(
        [sys.executable, "-c", SWEEP, f"--sweep={path}", f"--workdir={tmp_path}/runs", "--workers=1"],
        stdout=open(tmp_path / name, "w"), stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    wait_until(lambda: running.last_line(waiting) == "working", first := start("first"))
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert running.read(waiting)["state"] == "running"
    said = lambda: (tmp_path / "second").read_text()
    wait_until(lambda: "waiting for 1 trials that another process runs" in said(), second := start("second"))
    assert states(tmp_path, path) == ["running", "done"]
    (tmp_path / running.run_path(waiting) / "go").touch()
    assert second.wait(60) == 0
    assert states(tmp_path, path) == ["done", "done"] and "2 done, 0 failed" in said()


def wait_until(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
