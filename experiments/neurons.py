"""Says what each number (neuron) of a layer stands for: its class and its pictures, on a page that can be asked.

    geodesic neurons --workdir=runs/birds [--layer=stage4] [--source=image_folder --path=photos] [--out=neurons] \\
        [--picture=photo.jpg] [--visualize=3,17]

The class of a neuron is chosen on one half of the images and scored on the other. Axes of the same space turned at
random, the untrained network and shuffled classes go through the same, and stand above everything: where turned axes
tell classes as well, single neurons are not special. docs/neurons.md has the page. Features are kept in --features.
"""

import os

import numpy as np
import rich.table
from absl import flags

from geodesic import datasets
from geodesic.datasets import transforms
from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, hosts, progress, storage, workdir
from geodesic.experiments.protocols import dissecting
from geodesic.experiments.reporting import neurons_page
from geodesic.experiments.trained import inputs, loading, visualization
from geodesic.experiments.training import data

_FILES = ("neurons.json", "neurons.html")
_FIRING = 10  # neurons that are printed of a picture


def define_flags() -> None:
    flags.DEFINE_string("layer", "embedding", "The layer, averaged over its map.")
    flags.DEFINE_string("source", "", "Name of a source of images (docs/data.md); default: the run's own test data.")
    flags.DEFINE_string("path", "", "Folder or file of --source.")
    flags.DEFINE_string("features", "", "Folder where features are kept; default: features in --workdir.")
    flags.DEFINE_string("out", "", f"Folder for {' and '.join(_FILES)}; default: neurons in --workdir.")
    flags.DEFINE_string("picture", "", "A picture, of the images or not, whose neurons that fire most are printed.")
    flags.DEFINE_list("visualize", [], f"Neurons, {visualization.MOST} at most, for which a picture is made that makes "
                      "them high, by gradient: some hundred passes through the network each.")
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
    asked = inputs.as_source([values.picture]) if values.picture else None  # before a model is loaded
    run = loading.load(values.workdir, config)
    row = _values_of(run, values.layer, asked)
    chosen = visualization.check(run, values.layer, _places(values.visualize)) if values.visualize else []
    found = dissecting.dissect(run, source, values.layer, folder=values.features, seed=values.seed,
                               progress=progress.bar)
    if row is not None:
        found.record["picture"] = {"path": values.picture, "fires": _firing(row, found)}
    for line in found.record["left_out"]:
        print(f"left out: {line}")
    made = _visualized(run, values.layer, chosen, values.seed, found)
    page = neurons_page.render(found, source.paths,
                               lambda place: transforms.eval_view(source[place], config.input),
                               datasets.CREDITS.get(section["name"], ""), made)
    workdir.write_atomically(os.path.join(out, _FILES[1]), page.encode())
    workdir.write_json(os.path.join(out, _FILES[0]), found.record)
    _print(found.record)
    _print_firing(found.record)
    print(f"written to {' and '.join(storage.absolute(os.path.join(out, name)) for name in _FILES)}")


def _places(names: list[str]) -> list[int]:
    if wrong := [name for name in names if not name.strip().isdecimal()]:
        raise UserError(f"--visualize takes neurons by their numbers, such as 3,17; got {wrong[0]!r}")
    return [int(name) for name in names]


def _values_of(run, layer: str, picture: datasets.Source | None) -> np.ndarray | None:
    """f32[C] of a picture. Raises UserError where it cannot be read."""
    if picture is None or layer not in run.layers:  # an unknown layer is refused with the list, further on
        return None
    embedded = run.embed_source(picture, layer=layer)
    if embedded.problems:
        raise UserError(embedded.problems[0])
    return embedded.embeddings[0]


def _firing(row: np.ndarray, found: dissecting.Neurons) -> list[dict]:
    """The neurons that are highest for a picture, in standard deviations above their mean over the images."""
    deviation = found.values.std(axis=0)
    above = np.where(deviation > 0, (row - found.values.mean(axis=0)) / np.where(deviation > 0, deviation, 1), 0)
    return [{"neuron": int(one), "value": float(row[one]), "deviations": float(above[one])}
            | {key: found.record["neurons"][one][key] for key in ("class", "auc") if found.selected is not None}
            for one in np.argsort(-above, kind="stable")[:_FIRING]]


def _print_firing(record: dict) -> None:
    if "picture" not in record:
        return
    print(f"the neurons that fire most for {record['picture']['path']}, in deviations above their mean:")
    for one in record["picture"]["fires"]:
        stands = f", of {one['class']} (AUC {one['auc']:.3f})" if "class" in one else ""
        print(f"  neuron {one['neuron']}: {one['deviations']:+.1f}, value {one['value']:.4g}{stands}")


def _visualized(run, layer: str, chosen: list[int], seed: int, found: dissecting.Neurons) -> dict:
    """Neuron -> the picture that makes it high; what they reach goes into the record."""
    if not chosen:
        return {}
    with progress.bar("visualising", visualization.STEPS) as advance:
        pictures, reached = visualization.visualize(run, layer, chosen, seed=seed, progress=advance)
    found.record["visualized"] = {"regulariser": visualization.REGULARISER, "neurons": [
        {"neuron": one, "value": float(value), "highest_of_the_images": float(found.values[:, one].max())}
        for one, value in zip(chosen, reached, strict=True)]}
    return dict(zip(chosen, pictures, strict=True))


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
