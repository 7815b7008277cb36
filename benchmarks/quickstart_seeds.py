"""The quickstart with three seeds: is what it shows luck?

    python -m benchmarks.quickstart_seeds [--out=benchmarks/results/quickstart]

Trains and evaluates configs/quickstart.py with seeds 0, 1, 2 through the programs themselves, and writes the mean
and each seed as JSON and as a Markdown table, with the hardware, the versions and the date.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags

ROOT = pathlib.Path(__file__).parents[1]
SEEDS = (0, 1, 2)

_OUT = flags.DEFINE_string("out", str(ROOT / "benchmarks" / "results" / "quickstart"), "Where to write .json and .md.")


def run(seed: int, folder: pathlib.Path) -> dict:
    """Trains and evaluates one seed; its evaluation record, with "train_seconds" added."""
    def program(name, *options):
        command = [sys.executable, "-m", f"geodesic.experiments.{name}", f"--workdir={folder}", *options]
        subprocess.run(command, cwd=ROOT, check=True)

    started = time.monotonic()
    program("train", "--config=quickstart", f"--config.seed={seed}")
    seconds = time.monotonic() - started
    program("evaluate")
    return json.loads((folder / "evaluation.json").read_text()) | {"train_seconds": round(seconds, 1)}


def summarise(records: list[dict]) -> dict:
    """Row name -> metric -> one value for each seed. The trained rows of all seeds become one."""
    rows = {}
    for record in records:
        for name, scores in record["scores"].items():
            row = rows.setdefault("trained" if name == record["trained"] else name, {})
            for metric, value in scores.items():
                if isinstance(value, float):
                    row.setdefault(metric, []).append(value)
    return rows


def markdown(rows: dict, records: list[dict]) -> str:
    """Baselines that do not depend on the seed have one number; the others the mean and each seed's."""
    def cell(values):
        if len(set(values)) == 1:
            return f"{values[0]:.3f}"
        return f"{np.mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"

    metrics = ("map@r", "tar@far=0.01", "tar@far=0.001", "eer", "recall@1")
    environment, protocol = records[0]["environment"], records[0]["protocol"]
    lines = ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cell(row[metric]) for metric in metrics) + " |" for name, row in rows.items()]
    seconds = ", ".join(f"{record['train_seconds']:.0f}" for record in records)
    seeds = ", ".join(str(record["seed"]) for record in records)
    lines += ["", f"{protocol['images']} images of {protocol['classes']} classes never trained on, last step; mean "
                  f"(seeds {seeds}). Training took {seconds} s. {environment['devices']}, {environment['machine']}, "
                  f"jax {environment['packages']['jax']}, {environment['date'][:10]}, "
                  f"commit {environment['commit']}, `python -m benchmarks.quickstart_seeds`."]
    return "\n".join(lines) + "\n"


def main(_) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records = [run(seed, pathlib.Path(folder) / str(seed)) for seed in SEEDS]
    rows = summarise(records)
    out = pathlib.Path(_OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps({"scores": rows, "records": records}, indent=2) + "\n")
    out.with_suffix(".md").write_text(markdown(rows, records))
    print(markdown(rows, records))


if __name__ == "__main__":
    app.run(main)
