"""Names what pictures show, by the classifier of a trained run or of imported weights.

    geodesic predict --workdir=runs/birds --images=photos [--top=5] [--sheet=photos.png]
    geodesic predict --workdir=weights/resnet50 --images=photo.jpg --format=json
    geodesic predict --workdir=runs/birds --source=manifest --path=new.csv --out=new_classes.csv

Probabilities are of the temperature that `geodesic evaluate` has fitted, where it has fitted one. Exit status: 0, or 1
where not one picture could be read.
"""

import json
import os

import rich.table
from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, hosts, progress
from geodesic.experiments.reporting import asked, sheet
from geodesic.experiments.trained import classifier, inputs, loading
from geodesic.experiments.trained.run import Run


def define_flags() -> None:
    asked.define_pictures()
    flags.DEFINE_integer("top", 5, "Classes to name for each picture.")
    asked.define_form("File to write them to, in place of printing them.",
                      "Where to put the pictures with their names below them")


def main(config, values) -> int:
    """Exit status 0, or 1 when not one picture could be read."""
    asked.check_pictures(values)
    asked.check_sheet(values)
    written = asked.form_of(values)
    say, source = asked.say_beside(written, values.out), asked.pictures(values)
    run = loading.load(values.workdir, config)
    names, how = run.class_names, _probabilities(run, run.classifier, say)
    with progress.bar("predicting", len(source)) as advance:
        found = run.predict_source(source, values.top, how["temperature"] or 1.0, advance)
    kept, problems = inputs.usable(source, found.probabilities, found.readable, found.problems,
                                   "its probabilities are")
    for problem in problems:
        say(f"skipped: {problem}")
    if not len(kept):
        raise UserError(f"none of the {len(source)} pictures of {asked.which(values)} can be named; nothing "
                        f"written")
    rows = [sheet.Named(source.paths[index], index, [
        (names[place], float(sure)) for place, sure in zip(found.classes[index], found.probabilities[index],
                                                           strict=True)]) for index in kept]
    if written == "json":
        text = json.dumps({"model": run.classifier_identity, **how, "images": [
            {"path": row.path, "classes": [{"name": name, "probability": sure} for name, sure in row.classes]}
            for row in rows], "skipped": problems}, indent=2) + "\n"
    else:
        text = (_csv if written == "csv" else _table)(rows)
    asked.give(text, values.out, say, f"{len(rows)} picture(s) named in {values.out}"
               + (f"; {len(problems)} skipped" if problems else ""))
    if written == "table":
        say(how["probabilities"])
    if values.sheet:
        read = lambda row: datasets.decode(source[row.place])
        hosts.first_does(lambda: sheet.write(values.sheet, rows, read, how["probabilities"]))
        say(f"sheet in {values.sheet}")
    return 0


def _probabilities(run: Run, classifies: classifier.Classifier, say) -> dict:
    """{"temperature": of the run, or None, "probabilities": what they are, for people to read}. A temperature of other
    weights is said, and not used."""
    try:
        temperature = run.temperature
    except UserError as error:
        say(f"no temperature: {error}")
        temperature = None
    calibrated = ("no temperature was fitted" if temperature is None
                  else f"at the temperature {temperature:.3g}, fitted on images that it was not trained on")
    return {"temperature": temperature, "probabilities": f"probabilities: {classifies.describe()}; {calibrated}"}


def _csv(rows: list[sheet.Named]) -> str:
    return asked.csv_text(("path", "rank", "class", "probability"), (
        (path, rank, name, f"{sure:.6g}") for path, _, classes in rows
        for rank, (name, sure) in enumerate(classes, start=1)))


def _table(rows: list[sheet.Named]) -> str:
    """Paths are shown below the folder that all of them share."""
    root = os.path.commonpath([os.path.dirname(os.path.abspath(row.path)) for row in rows])
    table = rich.table.Table()
    for name, justify in (("image", "left"), ("class", "left"), ("probability", "right")):
        table.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        for rank, (name, sure) in enumerate(row.classes):
            table.add_row("" if rank else os.path.relpath(row.path, root), name, f"{sure:.2f}",
                          end_section=rank == len(row.classes) - 1)
    return f"paths are below {root}\n{console.text(table)}"


if __name__ == "__main__":
    cli.run(main, define_flags, buckets=("workdir", "out"))
