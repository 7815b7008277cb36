"""Published figures, really run: Omniglot and the Grocery Store photographs, three seeds each.

    python -m benchmarks.published --set=omniglot --data=omniglot.npz [--workdir=runs/published] [--workers=2]
    python -m benchmarks.published --set=grocery --data=grocery --init_from=weights/keras

Trains every run of the set through the programs themselves, `workers` at a time, each on its share of the cores,
evaluates it by its protocols, and writes the mean over seeds, each seed and the intervals over classes beside what was
published, as benchmarks/results/SET.json and .md; the result records go below benchmarks/results/records. Rows with the
same metrics are compared, paired by seed (Student's t, Holm's adjustment). Some runs have a second row, of images in
their four quarter turns. Given again, it does only what is missing.
--only=NAME,... picks runs, --table writes the tables of what is done.
grocery: the folder with train, val and test (docs/weights.md, which also says where the weights come from).
"""

import concurrent.futures
import json
import os
import pathlib
import queue
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import psutil
from absl import app, flags

from geodesic.experiments.process import workdir
from geodesic.experiments.protocols import record
from geodesic.experiments.sweeping import statistics

ROOT = pathlib.Path(__file__).parents[1]
SEEDS = (0, 1, 2)


def define_flags() -> None:
    flags.DEFINE_enum("set", "omniglot", list(RUNS), "What to run.")
    flags.DEFINE_string("data", None, "Omniglot's .npz, or the folder of the grocery photographs.", required=True)
    flags.DEFINE_string("init_from", "", "Imported weights, for the runs that start from some.")
    flags.DEFINE_string("workdir", "runs/published", "Where the runs lie.")
    flags.DEFINE_integer("workers", 2, "Runs at a time.")
    flags.DEFINE_list("only", [], "Names of the runs to do; all without.")
    flags.DEFINE_bool("table", False, "Run nothing: write the tables from the runs that are done.")
    flags.DEFINE_string("out", str(ROOT / "benchmarks" / "results"), "Where to write SET.json and SET.md.")


class Run(NamedTuple):
    """One training, with each seed."""

    name: str
    title: str                     # of its row
    config: str
    protocols: tuple[str, ...]
    metrics: tuple[str, ...]       # those of the table
    pretrained: bool = False
    turned: tuple[str, ...] = ()   # the protocols that see four quarter turns, too: a row of their own


TURNED = ".quarter_turns"          # of a record's name
OMNIGLOT = "configs/papers/omniglot.py"
_BACKGROUND = ("omniglot_one_shot_lake", "omniglot_within_alphabet", "omniglot_verification", "omniglot_retrieval")
_PUBLISHED = ("omniglot_one_shot_lake", "omniglot_verification")  # other methods' figures are known
_WITHIN = ("one_shot_20way", "within_alphabet_20way", "pair_accuracy")
_FEW_SHOT = ("5way_1shot", "5way_5shot", "20way_1shot", "20way_5shot")
_RANKING = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")
RUNS = {
    "omniglot": (
        Run("few_shot", "ResNet, ArcFace", f"{OMNIGLOT}:few_shot_vinyals", ("omniglot_few_shot_vinyals",), _FEW_SHOT),
        Run("resnet", "ResNet, ArcFace", f"{OMNIGLOT}:background", _BACKGROUND, (*_WITHIN, *_RANKING),
            turned=_PUBLISHED),
        Run("resnet_long", "ResNet, eight epochs, ArcFace", f"{OMNIGLOT}:background_long", _BACKGROUND,
            (*_WITHIN, *_RANKING), turned=_PUBLISHED),
        # Trained before the runs of Lake et al. were known, and its weights are gone: to be trained again.
        Run("resnet18", "ResNet-18, distorted drawings, ArcFace", f"{OMNIGLOT}:background_resnet18", _BACKGROUND[1:3],
            _WITHIN[1:]),
        Run("resnext", "ResNeXt, ArcFace", f"{OMNIGLOT}:background_resnext", _BACKGROUND, (*_WITHIN, *_RANKING)),
        Run("inception_bn", "Inception-BN, ArcFace", f"{OMNIGLOT}:background_inception_bn", _BACKGROUND,
            (*_WITHIN, *_RANKING)),
    ),
    "grocery": (
        Run("retrieval_scratch", "ResNet from scratch", "configs/grocery.py:retrieval", ("grocery_retrieval",),
            _RANKING),
        Run("retrieval_pretrained", "ResNet-50 from ImageNet weights", "configs/grocery.py:retrieval_pretrained",
            ("grocery_retrieval",), _RANKING, True),
        Run("classification_scratch", "ResNet from scratch", "configs/grocery.py:classification",
            ("grocery_classification",), ("top1", "top5")),
        Run("classification_pretrained", "ResNet-50 from ImageNet weights",
            "configs/grocery.py:classification_pretrained", ("grocery_classification",), ("top1", "top5"), True),
        Run("classification_finetuned", "ResNet-50 from ImageNet weights, 224 px",
            "configs/grocery.py:classification_finetuned", ("grocery_classification",), ("top1", "top5"), True),
    ),
}
# Metric -> [(value, what it is of)]: other methods' figures under the same protocol.
PUBLISHED = {
    "5way_1shot": [(0.988, "Prototypical Networks"), (0.981, "Matching Networks")],
    "5way_5shot": [(0.997, "Prototypical Networks"), (0.989, "Matching Networks")],
    "20way_1shot": [(0.960, "Prototypical Networks"), (0.938, "Matching Networks")],
    "20way_5shot": [(0.989, "Prototypical Networks"), (0.985, "Matching Networks")],
    "one_shot_20way": [(0.920, "Koch's siamese network"), (0.955, "people"), (0.967, "Bayesian program learning"),
                       (0.612, "modified Hausdorff distance")],
    "pair_accuracy": [(0.9342, "Koch's siamese network")],
    "top1": [(0.8604, "Antioquia 2021, fine-tuned")],
}


def main(_) -> None:
    chosen = [run for run in RUNS[flags.FLAGS.set] if not flags.FLAGS.only or run.name in flags.FLAGS.only]
    if any(run.pretrained for run in chosen) and not (flags.FLAGS.init_from or flags.FLAGS.table):
        sys.exit("some of these runs start from imported weights: say where they lie with --init_from=FOLDER, or leave "
                 "them out with --only=NAME,...")
    if not flags.FLAGS.table:
        do(chosen)
    done = [(run, seed) for run in RUNS[flags.FLAGS.set] for seed in SEEDS
            if all(pathlib.Path(record.path(folder(run, seed), name)).exists() for name in names(run))]
    if not done:
        sys.exit("no run is done: nothing written")
    for run, seed in done:
        keep_records(run, seed)
    out = pathlib.Path(flags.FLAGS.out) / flags.FLAGS.set
    kept = json.loads(out.with_suffix(".json").read_text()) if out.with_suffix(".json").exists() else []
    rows = {row["run"]: row for row in kept}  # what was run elsewhere
    for run in dict.fromkeys(run for run, _ in done):
        seeds = [seed for other, seed in done if other == run]
        rows |= {name: row(run, seeds, name) for name in rows_of(run)}
    rows = [rows[name] for run in RUNS[flags.FLAGS.set] for name in rows_of(run) if name in rows]
    workdir.write_json(out.with_suffix(".json"), rows)
    workdir.write_atomically(out.with_suffix(".md"), markdown(rows, flags.FLAGS.set).encode())
    print(markdown(rows, flags.FLAGS.set))


def rows_of(run: Run) -> dict[str, list[str]]:
    """Name of a row -> those of its records, of one training."""
    turned = {run.name + TURNED: [protocol + TURNED for protocol in run.turned]} if run.turned else {}
    return {run.name: list(run.protocols)} | turned


def names(run: Run) -> list[str]:
    """Of all records of one training."""
    return [name for of_row in rows_of(run).values() for name in of_row]


def folder(run: Run, seed: int) -> str:
    return f"{flags.FLAGS.workdir}/{flags.FLAGS.set}/{run.name}_{seed}"


def keep_records(run: Run, seed: int) -> None:
    kept = pathlib.Path(flags.FLAGS.out) / "records" / flags.FLAGS.set / f"{run.name}_{seed}"
    for name in names(run):
        workdir.write_json(kept / f"{name}.json", record.read(record.path(folder(run, seed), name)))


def do(chosen: list[Run]) -> None:
    """All runs, a seed of each before the next seed of any."""
    cores = sorted(psutil.Process().cpu_affinity())
    places = queue.SimpleQueue()
    for index in range(flags.FLAGS.workers):
        places.put(cores[index::flags.FLAGS.workers] or cores)

    def one(run: Run, seed: int) -> None:
        place = places.get()
        try:
            _one(run, seed, place)
        finally:
            places.put(place)

    with concurrent.futures.ThreadPoolExecutor(flags.FLAGS.workers) as pool:
        for future in [pool.submit(one, run, seed) for seed in SEEDS for run in chosen]:
            future.result()


def _one(run: Run, seed: int, cores: list[int]) -> None:
    where, source = folder(run, seed), flags.FLAGS.data
    paths = {"train_data": source, "test_data": source} if flags.FLAGS.set == "omniglot" else {
        "train_data": f"{source}/train", "test_data": f"{source}/test"}
    options = [f"--config={run.config}", f"--config.seed={seed}", "--config.run.loader_threads=1",
               *(f"--config.{section}.path={path}" for section, path in paths.items())]
    if run.pretrained:
        options.append(f"--config.init_from={flags.FLAGS.init_from}")
    seconds = pathlib.Path(where) / "train_seconds"
    if not seconds.exists():
        started = time.monotonic()
        used = program("train", where, cores, *options)
        seconds.write_text(f"{time.monotonic() - started:.1f} {used:.1f}\n")
    for name in names(run):
        if not pathlib.Path(record.path(where, name)).exists():
            turned = ["--quarter_turns"] if name.endswith(TURNED) else []
            program("evaluate", where, cores, f"--protocol={name.removesuffix(TURNED)}", f"--data={source}", *turned)
    print(f"{run.name}, seed {seed}: done in {where}", flush=True)


def program(name: str, where: str, cores: list[int], *options: str) -> float:
    """Runs one of the programs to its end. Returns the processor seconds that it and its workers took."""
    pathlib.Path(where).mkdir(parents=True, exist_ok=True)
    with open(f"{where}.log", "a") as log:
        process = subprocess.Popen([sys.executable, "-m", f"geodesic.experiments.{name}", f"--workdir={where}",
                                    *options], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        psutil.Process(process.pid).cpu_affinity(cores)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"experiments.{name} on {where} ended with status {process.returncode}: {where}.log")
    return usage.ru_utime + usage.ru_stime


def row(run: Run, seeds: list[int], name: str) -> dict:
    """Of one training: metric -> each seed's value and interval, and what the figures depend on."""
    records = {seed: [record.read(record.path(folder(run, seed), one)) for one in rows_of(run)[name]]
               for seed in seeds}
    title = f"{run.title}, four quarter turns" if name.endswith(TURNED) else run.title
    first = records[seeds[0]][0]
    metrics = {metric: [next(one["metrics"][metric] for one in records[seed] if metric in one["metrics"])
                        for seed in seeds]
               for metric in run.metrics if any(metric in one["metrics"] for one in records[seeds[0]])}
    seconds = [[float(text) for text in (pathlib.Path(folder(run, seed)) / "train_seconds").read_text().split()]
               for seed in seeds]
    return {"run": name, "title": title, "config": run.config, "seeds": seeds, "metrics": metrics,
            "train_seconds": [wall for wall, _ in seconds], "processor_seconds": [used for _, used in seconds],
            "evaluate_seconds": [sum(one["wall_clock_seconds"] for one in records[seed])
                                                           for seed in seeds],
            "counts": {one["protocol"]["name"]: one["counts"] for one in records[seeds[0]]},
            "splits": {one["protocol"]["name"]: one["protocol"]["split"] for one in records[seeds[0]]},
            "steps": first["checkpoint"]["step"], "selection": first["selection"]["rule"],
            "embedder": {key: value for key, value in first["config"]["embedder"].items() if value is not None},
            "image_size": first["config"]["input"]["image_size"], "hardware": first["hardware"],
            "packages": first["packages"], "date": first["date"],
            "commits": sorted({one["code"]["commit"][:12] for seed in seeds for one in records[seed]}),
            "config_hashes": [records[seed][0]["config_hash"] for seed in seeds]}


def markdown(rows: list[dict], name: str) -> str:
    """A table for each set of metrics; a cell is the mean, each seed, and the widest reach of the intervals."""
    lines = [f"# {name.capitalize()}", "", f"`python -m benchmarks.published --set={name} --data=...`; "
             "mean over seeds (each seed) [95 % interval over the test classes: least low and greatest high of the "
             "seeds], in %.", ""]
    for metrics in dict.fromkeys(tuple(row["metrics"]) for row in rows):
        members = [row for row in rows if tuple(row["metrics"]) == metrics]
        lines += ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
        lines += [f"| {row['title']} | " + " | ".join(cell(row["metrics"][name]) for name in metrics) + " |"
                  for row in members]
        lines += published(metrics)
        lines.append("")
        lines += differences(members)
        lines += [describe(row) for row in members] + [""]
    lines.append("A run has its share of the machine.")
    return "\n".join(lines) + "\n"


def cell(values: list[dict]) -> str:
    percent = lambda value: f"{100 * value:.2f}"
    each = ", ".join(percent(one["value"]) for one in values)
    span = "" if values[0]["low"] is None else (
        f" [{percent(min(one['low'] for one in values))}, {percent(max(one['high'] for one in values))}]")
    return f"**{percent(np.mean([one['value'] for one in values]))}** ({each}){span}"


def published(metrics: tuple[str, ...]) -> list[str]:
    """A row for each method with a published figure among these metrics."""
    methods = dict.fromkeys(method for name in metrics for _, method in PUBLISHED.get(name, []))
    figures = {(method, name): value for name in metrics for value, method in PUBLISHED.get(name, [])}
    return [f"| {method} (published) | " + " | ".join(
        f"{100 * figures[method, name]:.2f}" if (method, name) in figures else "" for name in metrics) + " |"
        for method in methods]


def differences(rows: list[dict]) -> list[str]:
    """A table of how each row differs from the first, paired by seed: its mean, its 95 % interval, and p."""
    first, *others = rows
    if not others:
        return []
    metrics = tuple(first["metrics"])
    values = {row["title"]: {name: dict(zip(row["seeds"], (one["value"] for one in row["metrics"][name]), strict=True))
                             for name in metrics} for row in rows}
    found = {name: statistics.against(first["title"], {title: of[name] for title, of in values.items()})
             for name in metrics}
    lines = [f"| less {first['title']} | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for row in others:
        cells = [found[name][row["title"]] for name in metrics]
        lines.append(f"| {row['title']} | " + " | ".join(
            "{:+.2f} [{:+.2f}, {:+.2f}], p {}".format(*(100 * value for value in one.interval),
                                                     statistics.probability(one.p_adjusted)) for one in cells) + " |")
    return [*lines, ""]


def describe(row: dict) -> str:
    splits = "; ".join(f"{name}: {split}" for name, split in row["splits"].items())
    embedder = ", ".join(f"{key} {json.dumps(value).strip(chr(34))}" for key, value in row["embedder"].items())
    seconds = ", ".join(f"{value:.0f}" for value in row["train_seconds"])
    used = ", ".join(f"{value:.0f}" for value in row.get("processor_seconds", ()))
    return (f"* {row['title']}: `{row['config']}`, {row['steps']:,} steps, {row['image_size']} px, checkpoint: "
            f"{row['selection']}; {embedder}; trained in {seconds} s (seeds {', '.join(map(str, row['seeds']))})"
            f"{f', of processor {used}' if used else ''}. "
            f"{splits}. {row['hardware']['devices']}, {row['hardware']['machine']}, jax {row['packages']['jax']}, "
            f"{row['date'][:10]}, evaluated at commit {', '.join(row['commits'])}.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
