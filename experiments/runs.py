"""Lists the runs below folders: what each is doing, how far it has come, its last scores, and how long ago it said so.

    geodesic runs runs [gs://bucket/sweeps ...] [--scores=map@r,recall@1] [--json]

A run is running while its process holds its folder, or has left a word there in the last two minutes; finished;
stopped (by a signal, and saved); failed (its last line says why); hung (stalled.txt has its stacks); killed; or
damaged, where its files cannot be read.
"""

import collections
import json
import os
import pathlib
import time

from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import cli, goodput, lock, progress, storage
from geodesic.experiments.process import workdir as workdirs

_SILENCE = 120  # seconds; goodput.json is written every ten, but not in a compilation or a long save
_COLUMNS = 4    # of scores, where none are asked for


def define_flags() -> None:
    flags.DEFINE_list("scores", [], "The scores to show, by their names in metrics.jsonl; default: those that the runs "
                                    f"have first, {_COLUMNS} at most.")
    flags.DEFINE_bool("json", False, "Print everything as JSON instead of a table.")


def main(_, values, folders: list[str]) -> None:
    if not folders:
        raise UserError("give the folder below which the runs are, one or more")
    found = []
    for folder in folders:
        below = find(folder)
        told = storage.each(_describe, below)  # in a bucket each takes its time
        found += [one | {"run": run.removeprefix(folder).strip("/") or run}
                  for one, run in zip(told, below, strict=True)]
    if values.json:
        print(json.dumps(found, indent=2))
    elif found:
        print(table(found, values.scores))
    else:
        print(f"no runs below {', '.join(folders)}")


def find(folder: str) -> list[str]:
    """The workdirs at or below a folder, in the order of their names. Raises UserError where there is no folder."""
    storage.check(folder)
    if not storage.is_folder(folder):
        raise UserError(f"there is no folder {folder!r}")
    found = {}
    for place, names in _walk(folder.rstrip("/") or "/"):
        inside = any(place[:end] in found for end, letter in enumerate(place) if letter == "/")
        if not inside and "config.json" in names and {"metrics.jsonl", "metrics", workdirs.LOCK} & names:
            found[place] = None
    return sorted(found)


def _walk(folder: str):
    """(folder, the names of what is in it) of every one at or below this, parents first."""
    if storage.is_remote(folder):
        names = collections.defaultdict(set)
        for path in storage.files(folder):
            for parent in pathlib.PurePosixPath(path).parents:
                place = "" if str(parent) == "." else f"/{parent}"
                names[folder + place].add(path[len(place):].partition("/")[0])
        yield from sorted(names.items())
        return
    for place, folders, files in os.walk(folder):
        yield place, {*folders, *files}
        if "config.json" in files:  # nothing below a run is one
            folders.clear()
        folders.sort()


def _describe(folder: str) -> dict:
    """The same of a run that cannot be read, or is being removed: one of them hides no other."""
    try:
        return describe(folder)
    except (OSError, ValueError, KeyError):
        return dict.fromkeys(("step", "total_steps", "loss", "goodput", "starts", "age")) | {
            "state": "damaged", "scores": {}}


def describe(folder: str) -> dict:
    """What a run says of itself: state, step, total_steps, loss, scores, goodput, starts and age (seconds since it last
    said anything). What it does not say is None."""
    records, spent = progress.read_metrics(folder), goodput.read(folder)
    losses = [record for record in records if "loss" in record]
    scored = [record for record in records if "loss" not in record]
    step, total = max((record["step"] for record in records), default=None), _total(folder, losses)
    age = time.time() - max(map(storage.changed, _spoken(folder)))
    return {"state": _state(folder, spent, age, step is not None and step == total), "step": step, "total_steps": total,
            "loss": losses[-1]["loss"] if losses else None,
            "scores": {name: value for name, value in scored[-1].items() if name != "step"} if scored else {},
            "goodput": round(goodput.share(spent["seconds"]), 4) if spent else None,
            "starts": spent.get("starts"), "age": round(age, 1)}


def _total(folder: str, losses: list[dict]) -> int | None:
    """How many steps a run is to make: its records say how far it had to go, and at what rate."""
    batch_size = json.loads(storage.read(workdirs.config_path(folder)))["batch_size"]
    for record in reversed(losses):
        if "eta_seconds" in record:
            return record["step"] + round(record["eta_seconds"] * record["images_per_second"] / batch_size)
    return None


def _spoken(folder: str) -> list[str]:
    parts = f"{folder}/metrics"  # of the records, in a bucket
    return [workdirs.config_path(folder), workdirs.metrics_path(folder), f"{folder}/goodput.json",
            *(f"{parts}/{name}" for name in sorted(storage.names(parts))[-1:])]


def _state(folder: str, spent: dict, age: float, at_its_end: bool) -> str:
    if lock.is_held(folder):
        return "running"
    hung = storage.changed(f"{folder}/stalled.txt")
    if hung and hung >= max(map(storage.changed, _spoken(folder)[1:])):
        return "hung"
    if not spent:  # a run of an older version
        return "finished" if at_its_end else "stopped"
    return spent["ended"] or ("running" if age < _SILENCE else "killed")


def table(found: list[dict], wanted: list[str]) -> str:
    """A line for each run. wanted: names of scores; [] = the first few, of recall@1, recall@2 ... the first."""
    first = {}
    for name in (name for run in found for name in run["scores"]):
        first.setdefault(name.partition("@")[0], name)
    names = wanted or [*first.values()][:_COLUMNS]
    number = lambda value: f"{value:.4g}" if isinstance(value, int | float) else "-"
    rows = [("run", "state", "step", "loss", *names, "goodput", "age")]
    for run in found:
        total = "" if run["total_steps"] is None else f"/{run['total_steps']:,}"
        rows.append((run["run"], run["state"], "-" if run["step"] is None else f"{run['step']:,}{total}",
                     number(run["loss"]), *(number(run["scores"].get(name)) for name in names),
                     "-" if run["goodput"] is None else f"{run['goodput']:.0%}",
                     "-" if run["age"] is None else duration(run["age"])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = lambda place, cell: cell.ljust(widths[place]) if place < 2 else cell.rjust(widths[place])
    return "\n".join("  ".join(align(*cell) for cell in enumerate(row)).rstrip() for row in rows)


def duration(seconds: float) -> str:
    """Seconds in the largest unit of which there are two.

    Example:
        >>> duration(3), duration(7_000), duration(200_000)
        ('3 s', '117 min', '2 d')
    """
    unit, size = next(((unit, size) for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60))
                       if seconds >= 2 * size), ("s", 1))
    return f"{max(seconds, 0) / size:.0f} {unit}"


if __name__ == "__main__":
    cli.run(main, define_flags, required=(), configured=False, takes="FOLDER...", alone=True,
            buckets=("",))
