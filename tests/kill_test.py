"""SIGKILL at a random moment, then the same command: the run ends as if nothing had happened."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import pytest

from configs import stored
from experiments import checkpoint, model, progress, workdir
from experiments import mesh as meshes

ROOT = pathlib.Path(__file__).parents[1]
TRIES = 10


def command(program, folder, *options):
    return [sys.executable, "-m", f"experiments.{program}", f"--workdir={folder}", *options]


TRAIN = ("--config=configs/quickstart.py", "--config.total_steps=40", "--config.run.checkpoint_every_steps=4",
         "--config.evaluation.every_epochs=1.0")


def final_state(folder) -> str:
    """A digest of every bit of the last checkpoint: parameters, statistics, momentum, step and place in the data."""
    with checkpoint.Checkpoints(str(folder)) as checkpoints:
        config = stored.get_config(workdir.config_path(str(folder)))
        mesh = meshes.make(jax.devices()[:1])
        built = model.build(config, 30, 300, mesh)
        return checkpoint.digest(checkpoints.restore(model.abstract_state(built, config, mesh)))


def logged(folder) -> list[tuple]:
    """What the run recorded, without what depends on the clock."""
    return [(r["step"], r.get("loss"), r.get("map@r")) for r in progress.read_metrics(str(folder))]


def kill_while_running(folder, moment: float) -> bool:
    """Starts training and kills it after `moment` seconds; False where it had already ended by itself."""
    process = subprocess.Popen(command("train", folder, *TRAIN), cwd=ROOT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=moment)
        return False
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    for name in ("warm", "whole"):  # the first fills the compilation cache, so that the second's time is the others'
        started = time.monotonic()
        subprocess.run(command("train", tmp_path / name, *TRAIN), cwd=ROOT, check=True, capture_output=True)
        duration = time.monotonic() - started
    expected = final_state(tmp_path / "whole")
    generator = random.Random(0)
    for attempt in range(TRIES):
        folder, killed = tmp_path / f"try{attempt}", False
        while not killed:
            shutil.rmtree(folder, ignore_errors=True)
            moment = generator.uniform(0.1, 1.0) * duration
            killed = kill_while_running(folder, moment)
        saved = sorted(int(path.name) for path in (folder / "checkpoints").glob("[0-9]*") if path.name.isdigit())
        done = subprocess.run(command("train", folder, *TRAIN), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        same = final_state(folder) == expected
        print(f"try {attempt + 1}: killed after {moment:.1f} s of {duration:.1f} s, checkpoints {saved or 'none'}: "
              f"{'identical' if same else 'DIFFERENT'}", flush=True)
        assert same
        assert logged(folder) == logged(tmp_path / "whole")
