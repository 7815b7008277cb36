"""Says what each number (neuron) of a layer stands for: its class and its pictures, on a page that can be asked.

    geodesic neurons --workdir=runs/birds [--layer=stage4] [--source=image_folder --path=photos] [--out=neurons]

The class of a neuron is chosen on one half of the images and scored on the other. Axes of the same space turned at
random, the untrained network and shuffled classes go through the same, and stand above everything: where turned axes
tell classes as well, single neurons are not special. docs/neurons.md has the page. Features are kept in --features.
"""

import os

import rich.table
from absl import flags

from geodesic import datasets
from geodesic.datasets import transforms
from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, hosts, progress, storage, workdir
from geodesic.experiments.protocols import dissecting
from geodesic.experiments.reporting import neurons_page
from geodesic.experiments.trained import loading
from geodesic.experiments.training import data

_FILES = ("neurons.json", "neurons.html")


def define_flags() -> None:
    flags.DEFINE_string("layer", "embedding", "The layer, averaged over its map.")
    flags.DEFINE_string("source", "", "Name of a source of images (docs/data.md); default: the run's own test data.")
    flags.DEFINE_string("path", "", "Folder or file of --source.")
    flags.DEFINE_string("features", "", "Folder where features are kept; default: features in --workdir.")
    flags.DEFINE_string("out", "", f"Folder for {' and '.join(_FILES)}; default: neurons in --workdir.")
    flags.DEFINE_integer("seed", 0, "Of the halves of the images, the rotations and the shuffles.")
    flags.DEFINE_bool("overwrite", False, "Replace the neurons of other images, or of another layer, in --out.")


def main(config, values) -> None:
    hosts.must_be_alone("geodesic neurons")
    if values.path and not values.source:
        raise UserError("--path needs --source: how is it to be read?")
    if not values.source:
        data.check_kinds(config)
    section = {"name": values.source, "path": values.path} if values.source else config.test_data
    source, out = datasets.build(**section), values.out or os.path.join(values.workdir, "neurons")
    _check_replaceable(out, {"records": datasets.identity.identity(source)["records"], "layer": values.layer},
                       values.overwrite)
    run = loading.load(values.workdir, config)
    found = dissecting.dissect(run, source, values.layer, folder=values.features, seed=values.seed,
                               progress=progress.bar)
    for line in found.record["left_out"]:
        print(f"left out: {line}")
    page = neurons_page.render(found, source.paths,
                               lambda place: transforms.eval_view(source[place], config.input),
                               datasets.CREDITS.get(section["name"], ""))
    workdir.write_atomically(os.path.join(out, _FILES[1]), page.encode())
    workdir.write_json(os.path.join(out, _FILES[0]), found.record)
    _print(found.record)
    print(f"written to {' and '.join(storage.absolute(os.path.join(out, name)) for name in _FILES)}")


def _check_replaceable(out: str, wanted: dict, overwrite: bool) -> None:
    try:
        there = workdir.read_json(os.path.join(out, _FILES[0]))
    except FileNotFoundError:
        return
    other = [what for what, field in (("images", "records"), ("layer", "layer")) if there.get(field) != wanted[field]]
    if other and not overwrite:
        raise UserError(f"{out} holds the neurons of other {' and '.join(other)}: give another --out, or --overwrite")


def _print(record: dict) -> None:
    head, *rows = neurons_page.table(record)
    print(neurons_page.describe(record))
    print(f"{len(record['neurons']):,} neurons: {record['dead']} dead, {record['saturated']} saturated, "
          f"{record['alike']} that correlate {dissecting.ALIKE:g} or more with another")
    if rows:
        table = rich.table.Table()
        for place, name in enumerate(head):
            table.add_column(name, justify="right" if place else "left")
        for row in rows:
            table.add_row(*row)
        console.plain().print(table)
    print(record["says"])


if __name__ == "__main__":
    cli.run(main, define_flags, alone=True, buckets=("workdir", "out"))
