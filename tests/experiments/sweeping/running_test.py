"""What becomes of a trial, with a program that stands in for training."""

import os
import signal
import threading
import time

import psutil
import pytest

from geodesic.experiments.sweeping import local, logs, running, trials
from tests.experiments.sweeping.sweeps import write


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(running, "PROGRAMS", (("tests.experiments.sweeping.fake_program",),))


def expand(tmp_path, margins, **options) -> list[trials.Trial]:
    return trials.expand(trials.load_sweep(write(tmp_path / "sweep.py", margins, **options)), str(tmp_path / "runs"))


def run(trial, memory_gib=0.0, stop=None, **options) -> dict:
    return running.run(trial, running.Limits(memory_gib=memory_gib), stop or running.Stop(), **options)


def test_a_trial_runs_once(tmp_path):
    trial = expand(tmp_path, (0.3,))[1]
    assert running.read(trial)["state"] == "waiting"
    record = run(trial)
    assert record["state"] == "done" and record["scores"] == {"map@r": pytest.approx(0.31), "recall@1": 0.7}
    assert record["seconds"] > 0.05 and record["peak_gib"] > 0
    changed = logs.changed(trial.folder)
    assert changed and run(trial) == record and logs.changed(trial.folder) == changed


def test_scores_are_of_a_classifier_and_of_retrieval():
    evaluation = {"trained": "trained, step 2", "scores": {}, "classification": {"metrics": {"top1": {"value": 0.5}}}}
    assert running.scores_of(evaluation) == {"top1": 0.5}
    evaluation["scores"] = {"raw pixels": {"map@r": 0.1}, "trained, step 2": {"map@r": 0.25, "queries": 4}}
    assert running.scores_of(evaluation) == {"top1": 0.5, "map@r": 0.25}


@pytest.mark.parametrize(("workers", "told"), [(2, ["CUDA_VISIBLE_DEVICES is 5"]), (3, [
    "CUDA_VISIBLE_DEVICES is 5", "XLA_PYTHON_CLIENT_PREALLOCATE is false"])])
def test_trials_that_share_a_gpu_do_not_take_its_memory_beforehand(tmp_path, monkeypatch, workers, told):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    trial = expand(tmp_path, (0.3,))[0]
    running.run(trial, local._places(workers)[0], running.Stop())
    assert logs.last_lines(trial.folder)[1:] == told


def test_failures_say_why_and_spoil_nothing(tmp_path):
    raising, large, bad, good = expand(tmp_path, (0.9, 0.8, "wide", 0.3), seeds=(0,))
    record = run(raising)
    assert record["state"] == "failed" and record["last_lines"][-1] == "ArithmeticError: the fake one fails"
    record = run(large, memory_gib=0.2)
    assert record["state"] == "failed" and record["reason"] == "out of memory: more than 0.2 GiB"
    record = run(bad)
    assert (record["reason"], record["last_lines"]) == ("bad value", ["loss.arcface.margin takes float, got 'wide'"])
    assert run(good, memory_gib=0.2)["state"] == "done"


def test_a_trial_that_the_system_kills(tmp_path):
    trial, = expand(tmp_path, (0.7,), seeds=(0,))
    results = []
    thread = threading.Thread(target=lambda: results.append(run(trial)))
    thread.start()
    os.kill(_child_of(trial), signal.SIGKILL)
    thread.join(20)
    assert results[0]["reason"] == "killed (SIGKILL): out of memory, or by somebody"


def test_stopping_interrupts_and_a_running_trial_is_left_alone(tmp_path):
    trial, = expand(tmp_path, (0.7,), seeds=(0,))
    stop, results = running.Stop(), []
    thread = threading.Thread(target=lambda: results.append(run(trial, stop=stop)))
    thread.start()
    _child_of(trial)
    assert running.read(trial)["state"] == "running"
    assert run(trial)["state"] == "running"  # by the other
    asked = running.Stop()
    asked.ask()
    assert run(trial, stop=asked, wait=True)["state"] == "running"
    stop.ask()
    thread.join(20)
    assert results[0]["state"] == running.read(trial)["state"] == "interrupted"


def test_a_trial_whose_sweep_was_killed_is_waited_for_and_taken_up(tmp_path):
    """The program that it left still holds the lock."""
    trial, = expand(tmp_path, (0.3,), seeds=(0,))
    os.makedirs(trial.folder)
    results = []
    thread = threading.Thread(target=lambda: results.append(run(trial, wait=True)))
    with running._lock(trial) as orphan:
        running._write(trial, {"state": "running", "seconds": 5.0, "started": time.time()})
        assert orphan is not None
        thread.start()
        thread.join(1.0)
        assert thread.is_alive() and running.read(trial)["state"] == "running"
    thread.join(20)
    assert results[0]["state"] == "done" and results[0]["scores"]["map@r"] == pytest.approx(0.3)
    assert results[0]["seconds"] >= 5.0


def test_others_run_before_those_that_another_process_runs(tmp_path):
    elsewhere, *others = expand(tmp_path, (0.1, 0.2, 0.3), seeds=(0,))
    os.makedirs(elsewhere.folder)
    ended, released = [], threading.Event()

    def tell(trial, record):
        ended.append((trial.label, record["state"]))
        if len(ended) == 2:
            released.set()

    def orphan():
        with running._lock(elsewhere):
            held.set()
            released.wait(20)

    held, thread = threading.Event(), threading.Thread(target=orphan)
    thread.start()
    held.wait(20)
    local.run([elsewhere, *others], 1, 0.0, running.Stop(), tell)
    thread.join(20)
    assert ended == [("margin=0.2", "done"), ("margin=0.3", "done"), ("margin=0.1", "done")]


def test_pruning(tmp_path):
    trial, = expand(tmp_path, (0.7,), seeds=(0,))
    assert run(trial, prune=lambda folder: os.path.exists(f"{folder}/metrics.jsonl"))["state"] == "pruned"
    assert run(trial)["state"] == "pruned"


def test_workers_share_the_cores_and_every_trial_runs(tmp_path):
    found, ended = expand(tmp_path, (0.1, 0.2, 0.9), seeds=(0, 1)), []
    local.run(found, 2, 0.0, running.Stop(), lambda trial, record: ended.append((trial.label, record["state"])))
    assert sorted(ended) == [("margin=0.1", "done")] * 2 + [("margin=0.2", "done")] * 2 + [("margin=0.9", "failed")] * 2


def _child_of(trial) -> int:
    """The process of a trial, once it has said something. Other tests of this process may have left children too."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if running.read(trial)["state"] == "running" and running.last_line(trial):
            return next(child.pid for child in psutil.Process().children(recursive=True)
                        if child.status() != psutil.STATUS_ZOMBIE
                        and any(running.run_path(trial) in word for word in child.cmdline()))
        time.sleep(0.02)
    raise AssertionError("the trial did not start")
