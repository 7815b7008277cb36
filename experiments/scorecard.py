"""Judges one checkpoint on everything, on one page, beside the untrained network, raw pixels and a reference.

    geodesic scorecard --workdir=runs/faces [--reference=weights/resnet50] [--norobustness]
    geodesic scorecard --workdir=weights/resnet50 --config.test_data.name=image_folder --config.test_data.path=photos
    geodesic compare runs/faces runs/others

Retrieval, verification, clusters, few-shot episodes, a linear probe and nearest neighbours, the health of the
embeddings, corrupted images, speed and size, each with its interval where it has one. docs/scorecard.md says how each
is measured. The images are embedded once by each contestant; corrupted ones take 26 passes more (--norobustness).
"""

import os
import time

import rich.table
from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, hosts, progress, storage, workdir
from geodesic.experiments.protocols import run_scores, scorecard, scorecard_files
from geodesic.experiments.reporting import scorecard_page
from geodesic.experiments.trained import loading
from geodesic.experiments.training import data


def define_flags() -> None:
    flags.DEFINE_integer("step", -1, "Step of the checkpoint to judge; -1 is the last one.")
    flags.DEFINE_string("reference", "", "Another workdir to stand beside: a run, or imported weights.")
    flags.DEFINE_bool("robustness", True, "Embed corrupted images too: 26 passes over up to 2,000 images by each.")
    flags.DEFINE_list("detectors", [], "Detectors on the frozen trunks, evaluated: run=WORKDIR, reference=WORKDIR, "
                      "untrained=WORKDIR.")
    flags.DEFINE_integer("seed", 0, "Of what is drawn: clusters, episodes, halves, corruptions, intervals.")
    flags.DEFINE_string("out", "", f"Folder for {', '.join(scorecard_files.NAMES)}; default: scorecard in --workdir.")
    flags.DEFINE_bool("overwrite", False, "Replace a scorecard on other images in --out.")


def main(config, values) -> None:
    hosts.must_be_alone("geodesic scorecard")
    started, out = time.monotonic(), values.out or scorecard_files.folder(values.workdir)
    run = loading.load(values.workdir, config, step=None if values.step < 0 else values.step)
    reference = loading.load(values.reference) if values.reference else None
    for model in filter(None, (run, reference)):
        scorecard.check(model)
    test = data.test_source(config)
    if not values.overwrite:
        _check_replaceable(out, test)
    record = scorecard.measure(run, test, reference, robust=values.robustness, seed=values.seed,
                               detectors=_detectors(values.detectors),
                               say=lambda line: print(line, flush=True), progress=progress.lines)
    record["seconds"] = round(time.monotonic() - started, 1)
    contents = scorecard_page.to_csv(record), scorecard_page.render(record, data.credit(config.test_data))
    for name, content in zip(scorecard_files.NAMES[1:], contents, strict=True):
        workdir.write_atomically(os.path.join(out, name), content.encode())
    workdir.write_json(os.path.join(out, scorecard_files.NAMES[0]), record)
    _print(record)
    print(f"written to {', '.join(storage.absolute(os.path.join(out, name)) for name in scorecard_files.NAMES)}")


def _detectors(given: list[str]) -> dict[str, str]:
    """Contestant -> workdir. Raises UserError for what is not NAME=WORKDIR."""
    found = {}
    for text in given:
        name, sign, folder = text.partition("=")
        if not (sign and name and folder):
            raise UserError(f"--detectors takes run=WORKDIR, reference=WORKDIR, untrained=WORKDIR; got {text!r}")
        found[scorecard.UNTRAINED if name == "untrained" else name] = folder
    return found


def _check_replaceable(out: str, test: datasets.Source) -> None:
    """Raises UserError where the folder holds a scorecard on other images, which would be lost."""
    try:
        there = scorecard_files.read(os.path.join(out, scorecard_files.NAMES[0]))["protocol"]
    except FileNotFoundError:
        return
    if there["records"] != datasets.identity.identity(test)["records"]:
        raise UserError(f"{out} holds a scorecard on other test data ({there['source']}): give another --out, or "
                        f"--overwrite")


def _print(record: dict) -> None:
    """All figures, with the intervals of the run: the page has those of the others."""
    names, cell = [*record["contestants"]], scorecard_files.cell
    table, task = rich.table.Table(title=run_scores.what_was_tested(record)), ""
    for name in ("", *names):
        table.add_column(name, justify="right" if name else "left")
    for row in record["scores"]:
        if row["task"] != task:
            task = row["task"]
            table.add_section()
            table.add_row(task, style="bold")
        ours, *others = (row["of"].get(name) for name in names)
        table.add_row(row["metric"], cell(ours), *(cell(metric and metric | {"low": None}) for metric in others))
    console.plain().print(table)
    for line in scorecard_page.left_out(record):
        print(f"left out: {line}")


if __name__ == "__main__":
    cli.run(main, define_flags, alone=True, buckets=("workdir", "reference", "out"))
