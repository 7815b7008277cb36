"""Made run/ and embeddings.npy, in a checkout of commit aea0c71 (the last before one import name), on a CPU:

    git worktree add /tmp/older aea0c71 && cp tests/older_run/make.py /tmp/older/ && cd /tmp/older && python make.py OUT

A run of four steps that was stopped after two, a threshold, the embeddings of its images, and the loss of each step.
"""

import json
import os
import pathlib
import shutil
import signal
import sys
import types

from experiments import runtime

runtime.start(1)

import numpy as np  # noqa: E402

import datasets  # noqa: E402
from experiments import calibrate, embedding, mesh, progress, train  # noqa: E402
from tests.experiments import tiny  # noqa: E402


class StopAt:
    """A stop signal that arrives at the n-th time it is asked for."""

    def __init__(self, calls):
        self.calls = calls

    @property
    def received(self):
        self.calls -= 1
        return signal.SIGTERM if self.calls <= 0 else None


def main(out: pathlib.Path) -> None:
    os.makedirs(out, exist_ok=True)
    os.chdir(out)
    tiny.faces(pathlib.Path("photos"), 8, 4)
    config = tiny.config("photos", train_data__classes=(0, 3), test_data__classes=(3, 5), total_steps=4)
    config.loss.margin.beta = 1.1  # a field that has another name today
    train.train(config, "whole", types.SimpleNamespace(received=0))
    assert train.train(config, "run", StopAt(3)) == 143
    calibrate.main(config, types.SimpleNamespace(workdir="run", far=0.1, source="image_folder", data="photos",
                                                 classes=["5", "8"], other_identities=False))
    trained = embedding.load(config, "run", mesh.make())
    source = datasets.build("image_folder", path="photos")
    embedded = embedding.embed_source(trained.embed, trained.variables, source, config, mesh.make())
    np.save("embeddings.npy", embedded.embeddings)
    losses = [record["loss"] for record in progress.read_metrics("whole") if "loss" in record]
    pathlib.Path("whole.json").write_text(json.dumps({"digest": trained.digest, "losses": losses}) + "\n")
    for name in ("whole", "photos", "run/tensorboard", "run/.lock"):
        shutil.rmtree(name) if os.path.isdir(name) else os.remove(name)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
