"""Probes frozen features: how well a linear classifier on them names the classes of images, and how few labels do.

    geodesic probe --workdir=weights/resnet50 --config.train_data.name=image_folder \\
        --config.train_data.path=grocery/train --config.test_data.name=image_folder \\
        --config.test_data.path=grocery/test [--validation=grocery/val] [--layer=stage3,embedding]

Multinomial logistic regression over 45 values of C, chosen on validation images, with nearest neighbours, ridge
regression, 1 to 10 labels a class, and the untrained network and raw pixels as controls. docs/recognition.md has the
protocol. Features are computed once and kept in --features.
"""

import os
import time

import rich.table
from absl import flags

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, hosts, progress, storage, workdir
from geodesic.experiments.protocols import probing
from geodesic.experiments.reporting import probe_page
from geodesic.experiments.trained import loading
from geodesic.experiments.training import data

_FILES = ("probe.json", "probe.csv", "probe.html")


def define_flags() -> None:
    flags.DEFINE_list("layer", ["embedding"], "Layers to probe, averaged over their maps; stage3+embedding puts two "
                      "side by side. Of several, the one that is best on the validation images is taken.")
    flags.DEFINE_string("validation", "", "Path of validation images, read as --config.train_data.name; default: a "
                        "fifth of each class's training images.")
    flags.DEFINE_enum("normalize", "auto", probing.NORMALIZE, "Features as they are, or unit vectors; auto: what is "
                      "better on the validation images.")
    flags.DEFINE_string("features", "", "Folder where features are kept; default: features in --workdir.")
    flags.DEFINE_string("out", "", f"Folder for {', '.join(_FILES)}; default: probe in --workdir.")
    flags.DEFINE_bool("controls", True, "Probe the untrained network and raw pixels too.")
    flags.DEFINE_integer("seed", 0, "Of what is drawn: validation images, few labels, intervals.")
    flags.DEFINE_bool("overwrite", False, "Replace a probe of other images in --out.")


def main(config, values) -> None:
    hosts.must_be_alone("geodesic probe")
    out = values.out or os.path.join(values.workdir, "probe")
    data.check_kinds(config)
    train, test = (datasets.build(**section) for section in (config.train_data, config.test_data))
    validation = (datasets.build(config.train_data.name, path=values.validation) if values.validation else None)
    _check_replaceable(out, test, values.overwrite)
    started, run = time.monotonic(), loading.load(values.workdir, config)
    probe = probing.probe(run, train, test, validation, layers=tuple(values.layer), normalize=values.normalize,
                          folder=values.features, controls=values.controls, seed=values.seed,
                          say=lambda line: print(line, flush=True), progress=progress.lines)
    probe.record["seconds"] = round(time.monotonic() - started, 1)
    places = {path: place for place, path in enumerate(test.paths)}
    page = probe_page.render(probe, test.paths, lambda path: datasets.decode(test[places[path]]),
                             data.credit(config.test_data))
    for name, content in zip(_FILES[1:], (probe_page.to_csv(probe.record), page), strict=True):
        workdir.write_atomically(os.path.join(out, name), content.encode())
    workdir.write_json(os.path.join(out, _FILES[0]), probe.record)
    _print(probe.record)
    print(f"written to {', '.join(storage.absolute(os.path.join(out, name)) for name in _FILES)}")


def _check_replaceable(out: str, test: datasets.Source, overwrite: bool) -> None:
    try:
        there = workdir.read_json(os.path.join(out, _FILES[0]))["records"]["test"]
    except FileNotFoundError:
        return
    if not overwrite and there != datasets.identity.identity(test)["records"]:
        raise UserError(f"{out} holds a probe of other test images: give another --out, or --overwrite")


def _print(record: dict) -> None:
    head, *rows = probe_page.table(record)
    table = rich.table.Table(title=probe_page.describe(record))
    for place, name in enumerate(head):
        table.add_column(name, justify="left" if place < 3 else "right")
    for row in rows:
        table.add_row(*row)
    console.plain().print(table)
    print(probe_page.choice(record))
    for one in next(iter(record["results"].values()))["few_label"]:
        test = one["test"]
        interval = "" if test["low"] is None else f" ({test['low']:.4f} to {test['high']:.4f})"
        print(f"{one['labels']:>3} labels a class: {test['value']:.4f}{interval}, C {one['c']:.2g}")


if __name__ == "__main__":
    cli.run(main, define_flags, alone=True, buckets=("workdir", "out"))
