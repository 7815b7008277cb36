"""`evaluate --protocol=NAME`: selects a checkpoint, follows the protocol, writes the record and prints it."""

import time

import jax
import numpy as np
import rich.table
from absl import flags

from geodesic import datasets
from geodesic.configs import protocols
from geodesic.errors import UserError
from geodesic.experiments.process import console, storage
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import (
    classifying,
    detecting,
    episodes,
    faces,
    intervals,
    ranking,
    record,
    selection,
)
from geodesic.experiments.protocols import task as tasks
from geodesic.experiments.trained import loading, network
from geodesic.experiments.trained.run import Run

# The tasks whose images may be seen turned.
_TURNED = ("retrieval", "few_shot", "one_shot", "pair_accuracy")
# A protocol's task -> how it is measured.
TASKS = {
    "retrieval": ranking.measure,
    "classification": classifying.measure,
    "ten_fold": faces.ten_fold,
    "templates": faces.template_pairs,
    "few_shot": episodes.few_shot,
    "one_shot": episodes.one_shot,
    "pair_accuracy": episodes.pair_accuracy,
    "detection": detecting.follow,
}


def define_flags() -> None:
    flags.DEFINE_string("protocol", "", f"Protocol to follow, and write a record of: {', '.join(protocols.NAMES)}.")
    flags.DEFINE_string("data", "", "Folder of the protocol's images; default: where the run's own data are. Of "
                        "listed pairs also a .bin, or PAIRS.txt#FOLDER, or PAIRS.txt#MANIFEST with landmarks.")
    flags.DEFINE_enum("select", "last", ["last", "validation"], "Checkpoint to measure: the last, or the one of the "
                      "highest map@r on config.test_data, which then must not be among the protocol's images.")
    flags.DEFINE_bool("select_on_test", False, "Choose the checkpoint on the test set itself. The record is marked.")
    flags.DEFINE_list("concatenate", [], "Other workdirs, whose embeddings are put beside this one's.")
    flags.DEFINE_bool("quarter_turns", False, "Embed each image in its four quarter turns, and put these side by side: "
                      "for networks that have learnt turned images as classes of their own.")


def check_unused(values) -> None:
    """Raises UserError for an option that needs --protocol: what is asked for is not left undone in silence."""
    for name in ("data", "select_on_test", "concatenate", "quarter_turns"):
        if values[name].value:
            raise UserError(f"--{name} needs --protocol=NAME")
    if values.select != "last":
        raise UserError("--select needs --protocol=NAME")


def run(config, values) -> dict:
    """Writes the record, and returns it."""
    started = time.monotonic()
    protocol = protocols.get(values.protocol)
    if values.quarter_turns and protocol.task not in _TURNED:
        raise UserError(f"--quarter_turns is of protocols of {', '.join(_TURNED)}; {protocol.name} is of "
                        f"{protocol.task}")
    options = tasks.options_of(config, protocol, values.data)
    selected = _select(config, options, values, protocol)
    runs = [loading.load(values.workdir, options, step=selected.step)]
    runs += [_other(workdir, protocol, values.data) for workdir in values.concatenate]
    task = tasks.Task(protocol, runs, config.seed, values.quarter_turns)
    measured = _measure(task, values.data)
    for problem in measured.problems:
        print(f"left out of the evaluation: {problem}")
    written = _make(config, task, selected, measured, started)
    path = record.write(values.workdir, written)
    print_record(written)
    print(f"written to {path}")
    return written


def _measure(task: tasks.Task, root: str) -> tasks.Measured:
    """task: of runs loaded with `tasks.options_of` their configurations; root: the --data folder or ""."""
    return TASKS[task.protocol.task](task, root)


def _make(config, task: tasks.Task, selected: selection.Selected, measured: tasks.Measured, started: float) -> dict:
    first = task.runs[0]
    return record.make(
        config, jax.devices(), protocol=_described(task, first.config, measured),
        selection=selected.how, metrics=measured.metrics,
        definitions={name: protocols.definition(name) for name in measured.metrics}, counts=measured.counts,
        checkpoint={"step": first.step, "digest": first.digest}, interval=intervals.describe(measured.over),
        started=started)


def record_own(run: Run, selected: selection.Selected, unit, labels, problems: list[str], started: float) -> str:
    """Where the record of a run lies whose own test data are those of a protocol; "" where they are of none.

    unit f[N,D], L2-normalised; labels i[N].
    """
    protocol = protocols.followed_by(run.config, datasets.DATA_SETS)
    if protocol is None:
        return ""
    task = tasks.Task(protocol, [run], run.config.seed)
    measured = ranking.score(task, unit, labels, unit, labels, np.arange(len(labels)), problems)
    return record.write(run.workdir, _make(run.config, task, selected, measured, started))


def _select(config, options, values, protocol) -> selection.Selected:
    if values.step >= 0 and (values.select != "last" or values.select_on_test):
        raise UserError("--step names the checkpoint: leave out --select and --select_on_test")
    if values.select_on_test and values.select != "last":
        raise UserError("--select=validation and --select_on_test exclude each other")
    if values.step >= 0:
        return selection.given(values.step)
    if values.select_on_test:
        return selection.on_test(options, values.workdir, protocol, lambda run: _measure(
            tasks.Task(protocol, [run], config.seed, values.quarter_turns), values.data
        ).metrics[protocol.primary]["value"])
    if values.select == "validation":
        if "validation" not in protocol.select_on:
            raise UserError(f"protocol {protocol.name} selects on {', '.join(protocol.select_on) or 'nothing'}")
        test = datasets.build(**tasks.locate(protocol.test, config, values.data))
        return selection.on_validation(config, values.workdir, set(test.paths))
    return selection.last()


def _other(workdir: str, protocol, root: str) -> Run:
    if not storage.exists(workdirs.config_path(workdir)):
        raise UserError(f"--concatenate: no run in {workdir!r}")
    return loading.load(workdir, tasks.options_of(loading.stored_config(workdir), protocol, root))


def _described(task: tasks.Task, options, measured: tasks.Measured) -> dict:
    """What a comparison must know. The paths are this machine's; the split is the protocol's."""
    protocol = task.protocol
    return {"name": protocol.name, "task": protocol.task, "data": protocol.data, "split": protocol.split,
            "complete": measured.complete, "image_size": _height(options), "resize": protocol.resize,
            "fit": options.input.fit, "average_horizontal_flips": options.evaluation.average_horizontal_flips,
            "quarter_turns": task.quarter_turns, "models": len(task.runs),
            "test": {key: value for key, value in options.test_data.items() if key != "classes"}
            | {"classes": list(options.test_data.classes)}}


def _height(options) -> int:
    """Pixels of what the network sees."""
    size = network.image_size(options)
    return size[0] if isinstance(size, tuple) else size


def print_record(written: dict) -> None:
    """Metrics with their intervals, and whatever makes the figures less than they look."""
    protocol, level = written["protocol"], written["interval"]["level"]
    table = rich.table.Table(title=record.title(written))
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column(f"{level:.0%} interval over {written['interval']['over']}", justify="right")
    for name, metric in written["metrics"].items():
        table.add_row(name, f"{metric['value']:.4f}", span(metric))
    console.plain().print(table)
    print(", ".join(f"{count:,} {name}" for name, count in written["counts"].items()))
    if not protocol["complete"]:
        print("MARKED: these are not the images that the protocol names, or not all of them")
    if written["selection"]["rule"] == record.TEST:
        print("MARKED: the checkpoint was selected on the test set")


def span(metric: dict) -> str:
    return "" if metric["low"] is None else f"{metric['low']:.4f} to {metric['high']:.4f}"
