"""Submission through submitit, to its executor of local processes in place of a cluster."""

import pytest

from geodesic.experiments.sweeping import running, slurm, trials
from tests.experiments.sweeping.sweeps import write


def test_each_job_runs_its_trial(tmp_path, monkeypatch):
    folder, path = str(tmp_path / "runs"), write(tmp_path / "sweep.py", ("wide", "wider"), seeds=(0,))
    jobs = slurm.submit(path, folder, [1], 1, {"timeout_min": 1}, cluster="local")
    assert [job.result() for job in jobs] == [1]  # a bad value: nothing was trained
    states = [running.read(trial)["state"] for trial in trials.expand(trials.load_sweep(path), folder)]
    assert states == ["waiting", "failed"]


def test_a_preempted_job_is_the_same_job_again(tmp_path):
    job = slurm.Job("s.py", str(tmp_path))
    again = job.checkpoint(3)
    assert again.function is job and again.args == (3,)


def test_what_submitit_does_not_know(tmp_path):
    with pytest.raises(ValueError, match=r"could not submit to local.*nonsense"):
        slurm.submit("s.py", str(tmp_path), [0], 1, {"nonsense": 1}, cluster="local")
