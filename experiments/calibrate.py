"""Sets the threshold of a trained run for a wanted false accept rate, on identities that nothing else has used.

    geodesic calibrate --workdir=runs/faces --far=1e-3 --source=image_folder --data=photos/calibration

Without --source the identities are those of config.calibration_data. Images that the run trained on would make the
threshold too low, and images that its records report would make the reported rates too good: both are refused.
`search` and `verify` use what is stored.
"""

import os
from collections.abc import Iterator

import numpy as np
from absl import flags

from geodesic import datasets
from geodesic.configs import default
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.process import cli, hosts, progress, storage
from geodesic.experiments.protocols import record
from geodesic.experiments.trained import loading, thresholds
from geodesic.experiments.trained.run import Run
from geodesic.metrics import retrieval


def define_flags() -> None:
    flags.DEFINE_float("far", 1e-3, "Wanted false accept rate: share of pairs of different identities called the same.")
    flags.DEFINE_string("source", "", f"Source of the identities: {', '.join(datasets.SOURCES)}.")
    flags.DEFINE_string("data", "", "Folder or file of --source.")
    flags.DEFINE_list("classes", ["0", "0"], "First class of --source and the one after the last; 0 = to the end.")
    flags.DEFINE_bool("other_identities", False, "Classes that are named as those of training or testing are others.")


def main(config, values) -> None:
    options = _options(config, values)
    source = datasets.build(**options)
    run = loading.load(values.workdir, config)
    _check_held_out(run, source, values.other_identities)
    with progress.bar("embedding", len(source)) as advance:
        embedded = run.embed_source(source, advance)
    for problem in embedded.problems:
        print(f"left out of the calibration: {problem}")
    labels = source.labels[embedded.readable]
    unit = retrieval.normalized(embedded.embeddings[embedded.readable])
    calibration = thresholds.calibrate(unit, labels, values.far, config.seed)
    origin = options | {"classes": list(options["classes"]), "images": len(labels),
                        "identities": [source.class_names[label] for label in np.unique(labels)]}
    hosts.first_does(lambda: thresholds.save(values.workdir, run.identity, calibration, origin))
    print(describe(calibration, origin))
    print(f"written to {thresholds.path(values.workdir)}")


def _options(config, values) -> dict:
    if values.source:
        try:
            start, stop = (int(number) for number in values.classes)
        except ValueError as error:
            raise UserError(f"--classes is START,STOP, two numbers; got {','.join(values.classes)}") from error
        return dict(name=values.source, path=values.data, classes=(start, stop), folds=0)
    if values.data:
        raise UserError("--data needs --source: how is it to be read?")
    chosen = config.calibration_data
    if not chosen.name:
        raise UserError("no identities to calibrate on: give --source (and --data, --classes), or train with "
                        "--config.calibration_data")
    return dict(chosen)


def _check_held_out(run: Run, source: datasets.Source, other_identities: bool) -> None:
    """Raises UserError, with an example, where images or classes were trained on or are reported by the run."""
    for what, paths, names in _used(run):
        images, classes = set(source.paths) & paths, set(source.class_names) & names
        if images:
            raise UserError(f"{len(images)} of the {len(source)} calibration images are {what}, {min(images)} for "
                            f"one: a threshold is set on identities that nothing else has used")
        if classes and not other_identities:
            raise UserError(f"{len(classes)} of the {source.num_classes} calibration classes have names that are "
                            f"{what}, {min(classes)!r} for one: a threshold is set on identities that nothing else "
                            f"has used. If the names mean others here, give --other_identities")


def _used(run: Run) -> Iterator[tuple[str, set[str], set[str]]]:
    """(what for, paths of images, names of classes) that a threshold must not be set on.

    The names are those that were really trained on and watched; paths are compared as long as the images are there.
    Imported weights have seen nothing of the data that their configuration has by default.
    """
    usual = default.get_config() if imported.exist(run.workdir) else {}
    for part, what in (("train", "trained on"), ("test", "reported by evaluate")):
        if usual and usual[f"{part}_data"] == run.config[f"{part}_data"]:
            continue
        paths, names = _of_source(dict(run.config[f"{part}_data"]))
        known = run.known_data
        yield what, paths, {*known[part]["class_names"]} if known else names
    for file in record.find(run.workdir) if storage.is_folder(record.folder(run.workdir)) else ():
        options = record.read(file)["protocol"]["test"]
        if options["name"] in datasets.SOURCES:  # pairs and templates do not name their identities
            yield (f"reported by {os.path.relpath(file, run.workdir)}", *_of_source(options))


def _of_source(options: dict) -> tuple[set[str], set[str]]:
    try:
        source = datasets.build(**options | {"classes": tuple(options["classes"])})
    except OSError as error:
        print(f"images that are not there any more cannot be compared with those of the calibration: {error}")
        return set(), set()
    return set(source.paths), set(source.class_names)


def describe(calibration: thresholds.Calibration, origin: dict) -> str:
    span = lambda interval, form: "" if interval[0] is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"
    sample = "" if calibration.sampled == 1 else f" and a sample of the pairs, {calibration.sampled:.2g} of them"
    names = origin["identities"]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return "\n".join((
        f"same identity iff cosine >= {calibration.threshold:.4f}{span(calibration.threshold_interval, '.4f')}",
        f"  wanted FAR    {calibration.far:g}",
        f"  measured FAR  {calibration.measured_far:.3g}{span(calibration.far_interval, '.3g')}",
        f"  TAR           {calibration.tar:.4f}{span(calibration.tar_interval, '.4f')}",
        f"  on {calibration.identities:,} identities of {origin['name']} {origin['path']}: {shown}".rstrip(),
        f"  {calibration.genuine_pairs:,} genuine and {calibration.impostor_pairs:,} impostor pairs; intervals 95 %, "
        f"{calibration.resamples:,} resamples of the identities{sample}"))


if __name__ == "__main__":
    cli.run(main, define_flags, buckets=("workdir",))
