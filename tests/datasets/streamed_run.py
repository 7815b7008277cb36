"""A run's batches alone: it says the digest of each and keeps where it is, and goes on from there when started again.

    python -m tests.datasets.streamed_run SOURCE PATH STEPS STATE WORKERS
"""

import hashlib
import json
import pathlib
import sys

from geodesic.experiments.process import workdir
from geodesic.experiments.training import data
from tests.experiments import tiny


def main(name: str, path: str, steps: str, state: str, workers: str) -> None:
    config = tiny.config(path)
    config.train_data.name = name
    config.run.loader_workers = int(workers)
    batches = data.CountedBatches(data.train_source(config), config)
    step = 0
    if pathlib.Path(state).exists():
        kept = json.loads(pathlib.Path(state).read_text())
        batches.set_state(kept)
        step = kept["step"]
    while step < int(steps):
        batch = next(batches)
        step += 1
        digest = hashlib.sha256(batch["image"].tobytes() + batch["label"].tobytes()).hexdigest()[:16]
        sys.stdout.write(f"{step} {digest}\n")  # at once, also where Python does not buffer: no kill cuts a line
        sys.stdout.flush()
        workdir.write_json(state, batches.get_state())
    batches.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
