"""A sweep of twelve real trials, everything killed at five moments, ends with the table of one that ran through."""

import csv
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

ROOT = pathlib.Path(__file__).parent.parent
SWEEP = """
from geodesic.configs import sweeps

def get_sweep():
    common = {"embedder.name": "resnet8", "embedder.embedding_size": 16, "input.image_size": 32, "batch_size": 8,
              "total_steps": 6, "run.checkpoint_every_steps": 2, "train_data.classes": (0, 3),
              "test_data.classes": (30, 33)}
    return sweeps.sweep(config="configs/quickstart.py", common=common, seeds=(0, 1, 2), axes=[
        sweeps.grid({"loss.arcface.margin": (0.3, 0.5), "loss.arcface.scale": (16.0, 32.0)})])
"""


@pytest.mark.slow
def test_killed_at_five_moments(tmp_path):
    (tmp_path / "sweep.py").write_text(SWEEP)
    started, through = time.monotonic(), run(tmp_path, "through")
    assert through.wait() == 0
    seconds = time.monotonic() - started  # the others take about half of it: what was compiled is kept
    rng, killed = random.Random(0), 0
    while killed < 5:
        process = run(tmp_path, "killed")
        time.sleep(rng.uniform(2, max(seconds / 6, 3)))
        if process.poll() is not None:
            break
        kill_everything(process.pid)
        killed += 1
    assert killed == 5, "the sweep was over too soon to be killed five times"
    assert run(tmp_path, "killed").wait() == 0
    assert table(tmp_path, "killed") == table(tmp_path, "through")


def run(tmp_path, name) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "geodesic.experiments.sweep", f"--sweep={tmp_path}/sweep.py",
                             "--workers=2", f"--workdir={tmp_path / name}"], cwd=ROOT, stdout=subprocess.DEVNULL)


def kill_everything(pid: int) -> None:
    family = psutil.Process(pid).children(recursive=True)
    for process in (psutil.Process(pid), *family):
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(family, timeout=20)


def table(tmp_path, name) -> list[dict]:
    """Every number but the time it took."""
    subprocess.run([sys.executable, "-m", "geodesic.experiments.sweep_report", f"--sweep={tmp_path}/sweep.py",
                    f"--workdir={tmp_path / name}", "--changed"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    with open(tmp_path / name / "report.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 and all(row["seeds"] == "3" for row in rows)
    return [{key: value for key, value in row.items() if key != "accelerator_hours"} for row in rows]
