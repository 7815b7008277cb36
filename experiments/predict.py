"""Names what pictures show, by the classifier of a trained run or of imported weights.

    geodesic predict --workdir=runs/birds --images=photos [--top=5] [--sheet=photos.png]
    geodesic predict --workdir=weights/resnet50 --images=photo.jpg --format=json
    geodesic predict --workdir=runs/birds --source=manifest --path=new.csv --out=new_classes.csv

Probabilities are of the temperature that `geodesic evaluate` has fitted, where it has fitted one. Exit status: 0, or 1
where not one picture could be read.
"""

import csv
import io
import json
import os
import sys

import rich.table
from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, hosts, progress
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.reporting import sheet
from geodesic.experiments.trained import inputs, loading
from geodesic.experiments.trained.run import Run

FORMATS = ("table", "csv", "json")


def define_flags() -> None:
    flags.DEFINE_string("images", "", "A picture, or a folder of pictures, searched with its sub-folders.")
    flags.DEFINE_string("source", "", "In place of --images: name of a source (docs/data.md).")
    flags.DEFINE_string("path", "", "Folder or file of --source.")
    flags.DEFINE_integer("top", 5, "Classes to name for each picture.")
    flags.DEFINE_enum("format", "", ["", *FORMATS], "How it is told; default: by the extension of --out, else table.")
    flags.DEFINE_string("out", "", "File to write them to, in place of printing them.")
    flags.DEFINE_string("sheet", "", "Where to put the pictures with their names below them: a .png file, or a .html "
                        "page that opens offline.")


def main(config, values) -> int:
    """Exit status 0, or 1 when not one picture could be read."""
    written = _format(values)
    if values.sheet and not values.sheet.endswith(sheet.EXTENSIONS):
        raise UserError(f"--sheet is a .png or a .html file; got {values.sheet!r}")
    say = lambda line: print(line, file=sys.stdout if written == "table" or values.out else sys.stderr, flush=True)
    source = datasets.build(values.source, path=values.path) if values.source else inputs.as_source(values.images)
    run = loading.load(values.workdir, config)
    names, how = run.class_names, _probabilities(run, say)
    with progress.bar("predicting", len(source)) as advance:
        found = run.predict_source(source, values.top, how["temperature"] or 1.0, advance)
    kept, problems = inputs.usable(source, found.probabilities, found.readable, found.problems,
                                   "its probabilities are")
    for problem in problems:
        say(f"skipped: {problem}")
    if not len(kept):
        raise UserError(f"none of the {len(source)} pictures of {values.images or values.path or values.source} can be "
                        f"named; nothing written")
    rows = [sheet.Named(source.paths[index], index, [
        (names[place], float(sure)) for place, sure in zip(found.classes[index], found.probabilities[index],
                                                           strict=True)]) for index in kept]
    if written == "json":
        text = json.dumps({"model": run.classifier_identity, **how, "images": [
            {"path": row.path, "classes": [{"name": name, "probability": sure} for name, sure in row.classes]}
            for row in rows], "skipped": problems}, indent=2) + "\n"
    else:
        text = (_csv if written == "csv" else _table)(rows)
    if values.out:
        hosts.first_does(lambda: workdirs.write_atomically(values.out, text.encode(errors="replace")))
        say(f"{len(rows)} picture(s) named in {values.out}" + (f"; {len(problems)} skipped" if problems else ""))
    else:
        print(text, end="", flush=True)
    if written == "table":
        say(how["probabilities"])
    if values.sheet:
        read = lambda row: datasets.decode(source[row.place])
        hosts.first_does(lambda: sheet.write(values.sheet, rows, read, how["probabilities"]))
        say(f"sheet in {values.sheet}")
    return 0


def _format(values) -> str:
    """The format that is asked for. Raises UserError where nothing can be read, or written, as asked."""
    if bool(values.images) == bool(values.source):
        raise UserError("--images=... is required, or --source=... with --path=..., and not both")
    if values.path and not values.source:
        raise UserError("--path needs --source: how is it to be read?")
    extension = os.path.splitext(values.out)[1].removeprefix(".")
    return values.format or (extension if extension in FORMATS else "table")


def _probabilities(run: Run, say) -> dict:
    """{"temperature": of the run, or None, "probabilities": what they are, for people to read}. A temperature of other
    weights is said, and not used."""
    try:
        temperature = run.temperature
    except UserError as error:
        say(f"no temperature: {error}")
        temperature = None
    calibrated = ("no temperature was fitted" if temperature is None
                  else f"at the temperature {temperature:.3g}, fitted on images that it was not trained on")
    return {"temperature": temperature, "probabilities": f"probabilities: {run.classifier.describe()}; {calibrated}"}


def _csv(rows: list[sheet.Named]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("path", "rank", "class", "probability"))
    for path, _, classes in rows:
        writer.writerows((path, rank, name, f"{sure:.6g}") for rank, (name, sure) in enumerate(classes, start=1))
    return buffer.getvalue()


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
    shown = console.plain()
    with shown.capture() as captured:
        shown.print(table)
    return f"paths are below {root}\n{captured.get()}"


if __name__ == "__main__":
    cli.run(main, define_flags, buckets=("workdir", "out"))
