"""launch/slurm.sh and a sweep on a real Slurm of one node."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from geodesic.experiments.sweeping import running, trials
from tests import sweep_kill_test as sweeps
from tests.faults.runs import Runs

ROOT = pathlib.Path(__file__).parents[1]
SETUP = str(ROOT / "tests" / "slurm" / "setup.sh")
MISSING = [name for name in ("munged", "slurmctld", "slurmd", "srun", "sbatch")
           if not (shutil.which(name) or shutil.which(name, path="/usr/sbin"))]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmctld and slurmd of tests/slurm/setup.sh are started as root"),
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}: apt-get install slurm-wlm munge"),
]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    folder = str(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"/usr/sbin:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
    monkeypatch.setenv("GEODESIC", f"{sys.executable} -m")
    monkeypatch.setenv("PROGRAM", "tests.faults.train")
    monkeypatch.setenv("NPROC", "32")
    subprocess.run([SETUP, "start", folder], check=True)
    yield
    subprocess.run([SETUP, "stop", folder], check=True)


def ask(*command) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def wait_until(condition, log: pathlib.Path, seconds: float = 240) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, log.read_text() if log.exists() else "the job has not started"
        time.sleep(0.2)


def test_a_preempted_job_is_queued_again_and_ends_as_if_nothing_had_happened(cluster, tmp_path):
    runs, log = Runs(tmp_path), tmp_path / "job.log"
    options = runs.command("job", "--step_seconds=0.3", "--cpu_devices=4")[3:]
    job = ask("sbatch", "--parsable", "--ntasks=2", f"--output={log}", "launch/slurm.sh", *options).strip()
    written = lambda text: log.exists() and text in log.read_text()
    wait_until(lambda: written("step  6/"), log)
    ask("scancel", "--batch", "--signal=TERM", job)
    wait_until(lambda: written("queued again"), log)
    assert "2 host(s)" in log.read_text() and "8 x cpu" in log.read_text()
    # A job that is queued again is held back for a while: not here.
    state = lambda: ask("scontrol", "show", "job", job)
    wait_until(lambda: "JobState=PENDING" in state() or "JobState=RUNNING" in state(), log)
    ask("scontrol", "update", f"jobid={job}", "starttime=now")
    wait_until(lambda: "JobState=COMPLETED" in state(), log)
    assert "resuming at step" in log.read_text() and "Restarts=1" in state()
    assert runs.same("job", processes=2, devices=4)


def test_a_lost_process_queues_the_job_again_and_a_users_error_does_not(cluster, tmp_path):
    runs, log, refused = Runs(tmp_path), tmp_path / "job.log", tmp_path / "refused.log"
    options = runs.command("job", "--step_seconds=0.3", "--cpu_devices=1")[3:]
    submit = lambda output, *more: ask("sbatch", "--parsable", "--ntasks=2", f"--output={output}", "launch/slurm.sh",
                                       *options, *more).strip()
    job = submit(log)
    written = lambda text: log.exists() and text in log.read_text()
    wait_until(lambda: written("step  6/"), log)
    os.kill(int(re.search(r"^pid (\d+) {'process_index': 0", log.read_text(), re.MULTILINE)[1]), signal.SIGKILL)
    wait_until(lambda: written("queued again"), log)
    state = lambda number: ask("scontrol", "show", "job", number)
    wait_until(lambda: "JobState=PENDING" in state(job) or "JobState=RUNNING" in state(job), log)
    ask("scontrol", "update", f"jobid={job}", "starttime=now")
    wait_until(lambda: "JobState=COMPLETED" in state(job), log)
    assert "resuming at step" in log.read_text() and "Restarts=1" in state(job)
    assert runs.same("job", processes=2, devices=1)
    other = submit(refused, "--config.seed=7")
    wait_until(lambda: "JobState=FAILED" in state(other), refused)
    assert "ExitCode=1:0" in state(other) and "Restarts=0" in state(other)
    assert "holds a run of another configuration: seed 0 (now 7)" in refused.read_text()
    assert not [*ROOT.glob(".geodesic-*.failed")]


def test_a_sweep_as_a_job_array_has_the_table_of_one_that_ran_here(cluster, tmp_path):
    (tmp_path / "sweep.py").write_text(sweeps.SWEEP)
    assert sweeps.run(tmp_path, "here").wait() == 0
    folder = tmp_path / "there"
    said = ask(sys.executable, "-m", "geodesic.experiments.sweep", f"--sweep={tmp_path}/sweep.py",
               f"--workdir={folder}", "--launcher=slurm", "--workers=2", "--slurm=timeout_min=10")
    assert "submitted 12 jobs" in said
    expanded = trials.expand(trials.load_sweep(f"{tmp_path}/sweep.py"), str(folder))
    states = lambda: {running.read(trial)["state"] for trial in expanded}
    wait_until(lambda: states() <= {"done", "failed"}, folder / "none", seconds=600)
    assert sweeps.table(tmp_path, "there") == sweeps.table(tmp_path, "here")
