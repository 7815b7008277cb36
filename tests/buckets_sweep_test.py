"""Sweeps whose folder lies in a bucket: as on a disk, one at a time, whatever ends their processes."""

import csv
import io
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from geodesic.errors import UserError
from geodesic.experiments import sweep, sweep_report
from geodesic.experiments.process import lease, progress, storage
from geodesic.experiments.sweeping import local, logs, running, search, trials
from tests import buckets, buckets_test, sweep_kill_test
from tests.experiments import sweep_test
from tests.experiments.sweeping.sweeps import flags, write

ROOT = pathlib.Path(__file__).parent.parent
SWEEP = sweep_kill_test.SWEEP.replace('"total_steps": 6,', '"total_steps": 6, "run.log_every_steps": 1,')
once = pytest.mark.parametrize("bucket", ["gs"], indirect=True)  # what s3 is asked for, other tests ask it for


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(running, "PROGRAMS", sweep_test.FAKE)
    monkeypatch.setattr(sweep.signal, "signal", lambda *_: None)


def expand(path: str, folder: str) -> list[trials.Trial]:
    return trials.expand(trials.load_sweep(path), folder)


def begin(path: str, folder: str, *words: str) -> subprocess.Popen:
    """A sweep of the program that stands in for training, in a process of its own."""
    return subprocess.Popen([sys.executable, "-u", "-c", sweep_test.SWEEP.replace(
        'configured=False', 'configured=False, buckets=("workdir",)'), f"--sweep={path}", f"--workdir={folder}",
        "--workers=1", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@once
@pytest.mark.parametrize(("program", "words", "said"), [
    ("sweep_report", ["--sweep=margins", "--workdir=URL"], "error: no sweep in 'URL'"),
    ("sweep", ["--sweep=margins", "--workdir=URL", "--launcher=slurm"], "error: --launcher=slurm keeps its jobs'")])
@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_the_programs_take_a_place_in_a_bucket(bucket, program, words, said, monkeypatch, capsys):
    buckets_test.test_which_programs_take_a_place_in_a_bucket(bucket, program, words, said, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.usefixtures("fake")
def test_a_sweep_and_its_report_are_those_of_a_disk(bucket, tmp_path, capsys):
    path, there = write(tmp_path / "s.py", (0.3, 0.9), seeds=(0,)), f"{bucket}/sweeps/one"
    said = []
    for folder in (str(tmp_path / "runs"), there + "/"):
        with pytest.raises(FileNotFoundError, match="no sweep in"):
            sweep_report.main(None, flags(tmp_path, path, workdir=folder))
        assert sweep.main(None, flags(tmp_path, path, workdir=folder)) == 1
        sweep_report.main(None, flags(tmp_path, path, workdir=folder))
        rows = list(csv.DictReader(io.StringIO(storage.read(f"{folder}/report.csv").decode())))
        said.append([{name: value for name, value in row.items() if name != "accelerator_hours"} for row in rows])
        good, bad = expand(path, folder)
        assert running.read(bad)["last_lines"][-1] == "ArithmeticError: the fake one fails"
        assert logs.last_lines(good.folder) == ["working"] and running.last_line(good) == "working"
        write(tmp_path / "s.py", (0.3, 0.2), seeds=(0,))
        capsys.readouterr()
        assert sweep.main(None, flags(tmp_path, path, workdir=folder)) == 0
        assert "2 trials, 1 to run" in capsys.readouterr().out
        assert sweep.main(None, flags(tmp_path, path, workdir=folder, dry_run=True)) == 0
        assert len(re.findall("done ", capsys.readouterr().out)) == 2
        write(tmp_path / "s.py", (0.3, 0.9), seeds=(0,))
    assert said[0] == said[1] and len(said[0]) == 2
    assert storage.names(there) == ["report.csv", "report.html", "report.md", "report.png", "trials"]  # no lease
    assert f"--config=stored:{there}/trials/{good.hash}/config.json" in storage.read(f"{there}/report.html").decode()


@once
@pytest.mark.usefixtures("fake")
def test_one_sweep_at_a_time_and_many_single_trials(bucket, tmp_path, monkeypatch, capsys):
    path, there = write(tmp_path / "s.py", (0.3,)), f"{bucket}/sweep"
    monkeypatch.setattr(lease, "RENEWAL", 0.3)
    with lease.held(there):
        with pytest.raises(UserError, match=f"{there} is in use by process {os.getpid()} on "):
            sweep.main(None, flags(tmp_path, path, workdir=there))
        assert storage.names(there) == [".lock"]
        assert sweep.main(None, flags(tmp_path, path, workdir=there, trial=1)) == 0
    assert [running.read(trial)["state"] for trial in expand(path, there)] == ["waiting", "done"]
    sweep_report.main(None, flags(tmp_path, path, workdir=there))
    assert storage.names(there) == ["report.csv", "report.html", "report.md", "report.png", "trials"]  # no lease


@pytest.mark.slow
@once
def test_what_a_killed_sweep_has_left_is_waited_for(bucket, tmp_path):
    """The program that it started runs on, and holds the lease of its run: the next sweep starts no second one."""
    path, there = write(tmp_path / "s.py", (0.6,), seeds=(0,)), f"{bucket}/sweep"  # it waits for a file called go
    [trial] = expand(path, there)
    first = begin(path, there)
    wait_until(lambda: running.last_line(trial) == "working")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert running.read(trial)["state"] == "running"
    second, lines = begin(path, there), []
    reader = threading.Thread(target=lambda: lines.extend(second.stdout))
    reader.start()
    wait_until(lambda: any("/run is process" in line for line in lines) or second.poll() is not None)
    time.sleep(1)
    assert second.poll() is None and len(storage.names(f"{trial.folder}/log")) == 1
    storage.write(f"{running.run_path(trial)}/go", b"")
    assert second.wait(60) == 0, lines
    reader.join()
    assert running.read(trial)["state"] == "done" and "1 done, 0 failed" in "".join(lines)


@once
@pytest.mark.usefixtures("fake")
def test_a_bucket_that_goes_away_ends_the_sweep_with_a_line(bucket, tmp_path, monkeypatch):
    path, there = write(tmp_path / "s.py", (0.3, 0.2), seeds=(0,)), f"{bucket}/sweep"
    found, stop, done = expand(path, there), running.Stop(), []
    write_one = storage.write

    def failing(path, content):
        if path.endswith("trial.json") and b'"state": "done"' in content:
            raise storage.LostError(110, f"{path} could not be reached for 300 s: a lost connection")
        write_one(path, content)

    monkeypatch.setattr(storage, "write", failing)
    with pytest.raises(storage.LostError, match="could not be reached"):
        local.run(found, 1, 0.0, stop, lambda *ended: done.append(ended))
    assert stop.asked and not done and [running.read(trial)["state"] for trial in found] == ["interrupted", "waiting"]


@pytest.mark.slow
@once
@pytest.mark.usefixtures("fake")
def test_a_search_there_goes_on_where_it_stopped(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "_LOOK_SECONDS", 0.0)
    path = write(tmp_path / "sweep.py", (), seeds=(0,), extra=(
        "search=sweeps.Search({'loss.arcface.margin': sweeps.Range(0.1, 0.5)}, trials=4)"))
    found, ended, ways = trials.load_sweep(path), [], {}
    for folder in (str(tmp_path / "runs"), f"{bucket}/search"):
        stop = running.Stop()
        tell = lambda trial, record, stop=stop: (ended.append(trial.hash), stop.ask() if len(ended) == 2 else None)
        ended.clear()
        search.run(found, folder, "", 1, 0.0, stop, tell)
        assert len(ended) == 2
        best = search.run(found, folder, "", 1, 0.0, running.Stop(), tell)
        ways[folder] = best, ended.copy(), search.points(found, folder, "")
    on_disk, there = ways.values()
    assert on_disk == there and len(there[1]) == 4 and len(there[2]) == 4
    sweep_report.main(None, flags(tmp_path, path, workdir=f"{bucket}/search"))
    monkeypatch.setattr(lease, "RENEWAL", 0.3)
    with lease.held(f"{bucket}/search"), pytest.raises(UserError, match="is in use by process"):
        search.run(found, f"{bucket}/search", "", 1, 0.0, running.Stop(), tell)


def wait_until(condition) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """The table of a sweep of real trials that nothing has interrupted, on a disk."""
    folder = tmp_path_factory.mktemp("through")
    (folder / "sweep.py").write_text(SWEEP)
    started = time.monotonic()
    assert start(folder / "sweep.py", str(folder / "runs")).wait() == 0
    return folder / "sweep.py", table(folder / "sweep.py", str(folder / "runs")), time.monotonic() - started


@pytest.mark.slow
@pytest.mark.parametrize(("bucket", "only_the_sweep"), [("gs", False), ("s3", False), ("gs", True)],
                         indirect=["bucket"])
def test_killed_at_five_moments(bucket, through, only_the_sweep):
    """The sweep with all that it has started; or alone, so that its trials run on without it."""
    path, expected, seconds = through
    there, draw, killed = f"{bucket}/sweep", random.Random(bucket), 0
    while killed < 5:
        process = start(path, there)
        time.sleep(draw.uniform(4, max(seconds / 6, 6)))
        if process.poll() is not None:
            break
        if only_the_sweep:
            process.kill()
            process.wait()
        else:
            sweep_kill_test.kill_everything(process.pid)
        killed += 1
    assert killed == 5, "the sweep was over too soon to be killed five times"
    assert start(path, there).wait() == 0
    assert table(path, there) == expected
    found = expand(str(path), there)
    assert sorted(storage.names(f"{there}/trials")) == sorted(trial.hash for trial in found)
    for trial in found:  # none was made twice: of each step there is one record, and one evaluation
        steps = [(record["step"], "loss" in record) for record in progress.read_metrics(running.run_path(trial))]
        assert steps == [(0, False), *((step, True) for step in range(1, 7)), (6, False)]
        assert not storage.names(f"{running.run_path(trial)}/.lock")


@pytest.mark.slow
@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_over_a_network_that_fails_now_and_then(bucket, servers, through, monkeypatch):
    path, expected, _ = through
    kind = bucket.partition("://")[0]
    with buckets.Proxy(servers[kind], 0.05) as proxy:
        buckets.use(monkeypatch, **{kind: proxy.port})
        assert start(path, f"{bucket}/sweep").wait() == 0
        assert proxy.faults.total() > 10
        assert table(path, f"{bucket}/sweep") == expected


def start(path: pathlib.Path, folder: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "geodesic.experiments.sweep", f"--sweep={path}", "--workers=2",
                             f"--workdir={folder}"], cwd=ROOT, stdout=subprocess.DEVNULL)


def table(path: pathlib.Path, folder: str) -> list[dict]:
    """Every number but the time it took."""
    subprocess.run([sys.executable, "-m", "geodesic.experiments.sweep_report", f"--sweep={path}",
                    f"--workdir={folder}", "--changed"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    rows = list(csv.DictReader(io.StringIO(storage.read(f"{folder}/report.csv").decode())))
    assert len(rows) == 8 and all(row["seeds"] == "3" for row in rows)
    return [{key: value for key, value in row.items() if key != "accelerator_hours"} for row in rows]
