"""Harm to the files of a checkpoint, and whether restoring finds it."""

import contextlib
import io
import shutil

import jax

from geodesic.experiments import tasks
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model
from tests.faults import tiny_config
from tests.faults.runs import Runs


class Harmed:
    """A copy of an undisturbed run's checkpoints, whose newest can be harmed and mended."""

    def __init__(self, runs: Runs):
        runs.whole()
        self.folder = runs.folder / "harmed"
        shutil.copytree(runs.folder / "whole", self.folder)
        config, mesh = tiny_config.get_config(str(runs.images)), meshes.make(jax.devices()[:1])
        self.abstract = model.abstract_state(model.build(config, tasks.get(config.task), 5, 40, mesh), mesh)
        self.newest = max(int(path.name) for path in (self.folder / "checkpoints").iterdir() if path.name.isdigit())
        self.files = sorted(path for path in (self.folder / "checkpoints" / str(self.newest)).rglob("*")
                            if path.is_file())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def is_found(self) -> bool:
        """Whether the newest checkpoint is named as damaged, and the one before, whole, restored in its place."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output), checkpoint.Checkpoints(str(self.folder)) as checkpoints:
            state, data = checkpoints.restore(self.abstract)
        named = f"the checkpoint of step {self.newest} in" in output.getvalue() and "is damaged" in output.getvalue()
        return named and int(state.step) == data["step"] < self.newest


def flipped_bits(runs: Runs, random, tries: int):
    found = 0
    with Harmed(runs) as harmed:
        assert not harmed.is_found()
        sizes = [path.stat().st_size for path in harmed.files]
        for _ in range(tries):
            path = random.choices(harmed.files, sizes)[0]
            content = path.read_bytes()
            changed, bit = bytearray(content), random.randrange(8 * len(content))
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            found += harmed.is_found()
            path.write_bytes(content)
    return found, "the steps since the checkpoint before", \
        "one bit, anywhere in the files of the newest checkpoint (data, metadata and manifest): it is named, and the " \
        "one before is restored"


def truncated_or_deleted(runs: Runs, random, tries: int):
    """tries: for every file."""
    found = count = 0
    with Harmed(runs) as harmed:
        for path in harmed.files:
            content = path.read_bytes()
            for attempt in range(tries):
                path.unlink()
                if attempt:
                    path.write_bytes(content[:random.randrange(len(content))])
                found += harmed.is_found()
                count += 1
                path.write_bytes(content)
    return found, "the steps since the checkpoint before", \
        f"every file of a checkpoint, deleted and cut short at {tries - 1} random places: it is named, and the one " \
        "before is restored", count
