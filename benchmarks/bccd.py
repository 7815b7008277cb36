"""BCCD's cells by many trunks, in one table: what the parts of configs/sweeps/bccd.py gave, on whatever machines.

    geodesic sweep --sweep=bccd:PART --workdir=runs/bccd       # choice, trunks, rf100, scratch
    python -m benchmarks.bccd --workdir=runs/bccd [--out=benchmarks/results/bccd_trunks]

Takes the scores of each run's own last evaluation, so that a run counts that came to its end, where its sweep did not;
what a part has not run is left out. Given again it adds to OUT.json what is new below --workdir, of other machines.
"""

import json
import pathlib
import sys

import numpy as np

from benchmarks import turns
from geodesic.experiments.sweeping import statistics, trials

# Part -> what is tested on what.
PARTS = {
    "choice": "Trained on the repository's train, tested on its val: what is chosen by",
    "trunks": "Trained on the repository's train and val, tested on its test",
    "rf100": "In the proportions of Roboflow 100, by configs/bccd_lists: 255 to train on, 36 tested",
    "scratch": "Trunks without public weights, on the repository's test",
}
METRICS = ("ap", "ap50", "ap75")


def main() -> None:
    asked = turns.options(__doc__, workdir="runs/bccd", out=str(turns.RESULTS / "bccd_trunks"))
    kept = pathlib.Path(asked.out + ".json")
    record = json.loads(kept.read_text()) if kept.exists() else {}
    every = [(part, trial) for part in PARTS for trial in trials.expand(trials.load_sweep(f"bccd:{part}"),
                                                                        asked.workdir)]
    ended = [(part, trial, found) for part, trial in every if (found := scores(pathlib.Path(trial.folder)))]
    if not ended:
        sys.exit(f"error: no run of --sweep=bccd has ended below {asked.workdir}: nothing written")
    for part, trial, found in ended:
        record.setdefault(part, {}).setdefault(trial.label, {})[str(trial.seed)] = found
    turns.write(asked.out, record, page(record))
    print(page(record))


def scores(folder: pathlib.Path) -> dict | None:
    """Of a trial's run that has ended: its scores, minutes, intervals over images and machine; None of another."""
    goodput = folder / "run" / "goodput.json"
    if not goodput.exists() or json.loads(goodput.read_text())["ended"] != "finished":
        return None
    told = map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())
    last = [line for line in told if "ap" in line][-1]
    seconds = json.loads((folder / "trial.json").read_text())["seconds"]
    found = {"scores": {name: last[name] for name in METRICS},
             "minutes": (seconds or sum(json.loads(goodput.read_text())["seconds"].values())) / 60}
    evaluation = folder / "run" / "evaluation.json"
    if evaluation.exists():
        measured = json.loads(evaluation.read_text())
        metrics = measured["detection"]["metrics"]
        found |= {"intervals": {name: (metrics[name]["low"], metrics[name]["high"]) for name in METRICS},
                  "environment": measured["environment"]}
    return found


def page(record: dict) -> str:
    """The tables in Markdown."""
    lines = ["# BCCD by many trunks", ""]
    for part, what in PARTS.items():
        if part not in record:
            continue
        lines += [f"**{what}** (`--sweep=bccd:{part}`)", "",
                  "| | AP | AP50 | AP75 | seeds | minutes a seed | machine |", "|---" * 7 + "|"]
        for label, seeds in record[part].items():
            cells = [cell([one["scores"][name] for one in seeds.values()],
                          [one["intervals"][name] for one in seeds.values() if "intervals" in one]) for name in METRICS]
            machines = {machine(one["environment"]) for one in seeds.values() if "environment" in one}
            minutes = np.mean([one["minutes"] for one in seeds.values()])
            lines.append(f"| {label} | {' | '.join(cells)} | {', '.join(seeds)} | {minutes:.1f} | "
                         f"{'; '.join(sorted(machines))} |")
        lines.append("")
    return "\n".join([*lines, "Mean over seeds with its 95 % interval (Student's t); of one seed, that over images. "
                      "Minutes are of all of a trial, with whatever else the machine did. A run whose machine was taken"
                      " before `geodesic evaluate` has no interval over images in the JSON.", ""])


def cell(values: list[float], over_images: list) -> str:
    if len(values) > 1:
        found = statistics.interval(values)
        return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
    return f"{values[0]:.3f}" + "".join(f" [{low:.3f}, {high:.3f}]" for low, high in over_images)


def machine(environment: dict) -> str:
    return (f"{environment['devices']}, {environment['machine']}, jax {environment['packages']['jax']}, "
            f"{environment['date'][:10]}, {environment['commit']}")


if __name__ == "__main__":
    main()
