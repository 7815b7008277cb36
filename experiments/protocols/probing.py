"""Linear probes: how well frozen features tell classes apart, by a protocol that others follow too.

Multinomial logistic regression with an L2 penalty, by L-BFGS: 45 values of C from 1e-6 to 1e5, the one with the best
accuracy on the validation images, fitted again on training and validation images together, tested once. Kornblith,
Shlens, Le: Do Better ImageNet Models Transfer Better?, 2018, arXiv:1805.08974; Ericsson, Gouk, Hospedales: How Well Do
Self-Supervised Models Transfer?, 2020, arXiv:2011.13377. Beside it stand nearest neighbours, a ridge regression, few
labels for each class, and, as controls, the same network untrained and raw pixels.
"""

import types
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from geodesic import datasets
from geodesic.configs import stored
from geodesic.datasets import identity
from geodesic.errors import UserError
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import fitting, intervals
from geodesic.experiments.protocols.fitting import Rows
from geodesic.experiments.trained import features, network
from geodesic.experiments.trained.run import Run
from geodesic.metrics import retrieval

NORMALIZE = ("auto", "raw", "unit")
_PIXELS = 32  # a side of the images that are a control as they are
_UNTRAINED, _RAW = "untrained network", "raw pixels"


class Probe(NamedTuple):
    """What a probe has found. record: what probe.json holds. Row i of the others is of the test image places[i]."""

    record: dict
    places: np.ndarray       # i[M], in the test source; unreadable images are missing
    labels: np.ndarray       # i[M]
    predictions: np.ndarray  # i[M], of the logistic regression
    class_names: list[str]


class _Split(NamedTuple):
    """Places of images in their sources, by part: those that fit, that validate, and that test; and their classes."""

    sources: dict[str, datasets.Source]  # "train", "test", and "validation" where it is given
    labels: dict[str, np.ndarray]        # of every image of a source, as a class of the training data
    aside: np.ndarray                    # bool[N], training images that validate


def probe(run: Run, train: datasets.Source, test: datasets.Source, validation: datasets.Source | None = None, *,
          layers: tuple[str, ...] = ("embedding",), normalize: str = "auto", folder: str = "", controls: bool = True,
          seed: int = 0, say: Callable[[str], None] = lambda line: None,
          progress: Callable[[str, int], Callable[[int], None]] = lambda what, images: lambda count: None) -> Probe:
    """Probes the frozen features of a run.

    Args:
      run: the model.
      train, test: labelled images of the same classes.
      validation: on which all is chosen; default: a fifth of each class's training images, drawn by `seed`.
      layers: of `run.layers`, averaged over their maps; "stage3+embedding" puts two side by side. Of several the one
        that is best on the validation images is probed.
      normalize: "raw" features, "unit" vectors, or "auto", what is better on the validation images.
      folder: where features are kept; default: in the run's workdir.
      controls: whether the untrained network and raw pixels are probed too.
      seed: of the draws.
      say: is told what is being done, in lines.
      progress: (what, images) -> a function that is told of images as they are gone through.

    Raises UserError, before anything is computed, for what cannot be probed.
    """
    layers = (layers,) if isinstance(layers, str) else tuple(layers)
    split = _check(run, train, test, validation, layers, normalize, seed)
    sets = _features(run, split, {name for layer in layers for name in layer.split("+")}, folder, progress)
    readable = {part: np.logical_and.reduce([one.readable for one in sets[part].values()]) for part in sets}
    for problem in {line for part in sets.values() for one in part.values() for line in one.problems}:
        say(f"left out: {problem}")
    candidates = {layer: {part: np.concatenate([sets[part][name].values for name in layer.split("+")], axis=1)
                          for part in sets} for layer in layers}
    parts_of = lambda values: _parts(values, split, readable)
    (layer, chosen), tried = _choose({layer: parts_of(values) for layer, values in candidates.items()}, normalize, say)
    ours, predictions = _probed(*parts_of(candidates[layer]), chosen, seed, say)
    ours["few_label"] = fitting.few_labels(*(_normalized(rows, chosen) for rows in parts_of(candidates[layer])), seed,
                                           say)
    rows = {f"{run.config.embedder.name}, {layer}": ours}
    for name in (_UNTRAINED, _RAW) if controls else ():
        say(f"control: {name}")
        others = parts_of(_control(name, run, split, layer, folder, progress))
        (_, best), _ = _choose({name: others}, normalize, lambda line: None)
        rows[name], _ = _probed(*others, best, seed, say)
    _, _, tested = parts_of(candidates[layer])
    record = {**_protocol(run, split, readable, seed), "layer": layer, "normalize": chosen, "asked": normalize,
              "candidates": tried, "results": rows, "environment": workdirs.environment(jax.devices())}
    return Probe(record, np.flatnonzero(readable["test"]), tested.labels, predictions, list(train.class_names))


def _check(run: Run, train, test, validation, layers, normalize: str, seed: int) -> _Split:
    if normalize not in NORMALIZE:
        raise UserError(f"features are normalized {', '.join(NORMALIZE)}; got {normalize!r}")
    run.check_layers(*(name for layer in layers for name in layer.split("+")))
    sources = {"train": train, "test": test} | ({} if validation is None else {"validation": validation})
    records = {part: identity.identity(source)["records"] for part, source in sources.items()}
    for part in ("test", "validation"):
        if records.get(part) == records["train"]:
            raise UserError(f"the {part} images are the training images: what would be measured is memory")
    present = {train.class_names[label] for label in np.unique(train.labels)}
    if len(present) < 2:
        raise UserError(f"a probe tells classes apart, and all {len(train)} training images are of one")
    place, labels = {name: label for label, name in enumerate(train.class_names)}, {"train": train.labels}
    for part, source in list(sources.items())[1:]:
        names = [source.class_names[label] for label in np.unique(source.labels)]
        unknown = [name for name in names if name not in present]
        if unknown:
            raise UserError(f"{len(unknown)} of the {len(names)} {part} classes have no training image, {unknown[0]!r} "
                            f"for one: a probe answers with classes that it was fitted on")
        labels[part] = np.array([place.get(name, -1) for name in source.class_names])[source.labels]
    aside = np.zeros(len(train), bool) if validation is not None else fitting.set_aside(train.labels, seed)
    return _Split(sources, labels, aside)


def _features(run: Run, split: _Split, layers: set[str], folder: str, progress, variables: dict | None = None
              ) -> dict[str, dict[str, features.Features]]:
    return {part: features.of(run, source, sorted(layers), folder=folder, variables=variables,
                              progress=progress(f"features of {part} images", len(source)))
            for part, source in split.sources.items()}


def _parts(values: dict[str, np.ndarray], split: _Split, readable: dict[str, np.ndarray]) -> tuple[Rows, Rows, Rows]:
    """Training, validation and test rows, of images that could be read."""
    def rows(part, kept):
        return Rows(np.asarray(values[part][kept], np.float64), split.labels[part][kept])

    fits = readable["train"] & ~split.aside
    given = "validation" in values
    return (rows("train", fits), rows("validation", readable["validation"]) if given
            else rows("train", readable["train"] & split.aside), rows("test", readable["test"]))


def _normalized(rows: Rows, kind: str) -> Rows:
    return Rows(retrieval.normalized(rows.values).astype(np.float64), rows.labels) if kind == "unit" else rows


def _choose(candidates: dict[str, tuple[Rows, Rows, Rows]], normalize: str, say) -> tuple[tuple[str, str], list[dict]]:
    """((the candidate, raw or unit) that is best on the validation images, what each has reached there)."""
    kinds = NORMALIZE[1:] if normalize == "auto" else (normalize,)
    if len(candidates) * len(kinds) == 1:
        return (next(iter(candidates)), kinds[0]), []
    tried = []
    for layer, (train, validation, _) in candidates.items():
        for kind in kinds:
            curve, best = fitting.sweep(_normalized(train, kind), _normalized(validation, kind), fitting.COARSE)
            reached = max(one["validation"] for one in curve)
            tried.append({"layer": layer, "normalize": kind, "c": best.c, "validation": reached})
            say(f"layer {layer}, {kind}: validation {reached:.4f} at C {best.c:.2g} of {len(fitting.COARSE)} values")
    best = max(tried, key=lambda one: one["validation"])
    return (best["layer"], best["normalize"]), tried


def _probed(train: Rows, validation: Rows, test: Rows, kind: str, seed: int, say) -> tuple[dict, np.ndarray]:
    """(the results of one kind of features, what the logistic regression answers for the test images)."""
    train, validation, test = (_normalized(rows, kind) for rows in (train, validation, test))
    both = Rows(*(np.concatenate(pair) for pair in zip(train, validation, strict=True)))
    given = train, validation, both, test, lambda answers: fitting.accuracy(answers == test.labels, seed)
    found, predictions = fitting.logistic_regression(*given)
    result = {"normalize": kind, "size": train.values.shape[1], "logistic": found,
              "knn": fitting.nearest_neighbours(*given), "ridge": fitting.ridge_regression(*given)}
    for name in ("logistic", "knn", "ridge"):
        say(f"  {name}: validation {result[name]['validation']:.4f}, test {result[name]['test']['value']:.4f}")
    return result, predictions


def _control(name: str, run: Run, split: _Split, layer: str, folder: str, progress) -> dict[str, np.ndarray]:
    if name == _RAW:
        return {part: _pixels(source, run, progress(f"pixels of {part} images", len(source)))
                for part, source in split.sources.items()}
    start = network.untrained(run.embedder, run.config)
    sets = _features(run, split, {*layer.split("+")}, folder, progress, start)
    return {part: np.concatenate([sets[part][one].values for one in layer.split("+")], axis=1) for part in sets}


def _pixels(source: datasets.Source, run: Run, progress) -> np.ndarray:
    """f32[N, 32 * 32 * 3], 0..1; 0 of an image that cannot be read."""
    own, rows = run.config.input, np.zeros((len(source), _PIXELS * _PIXELS * 3), np.float32)
    input = types.SimpleNamespace(image_size=_PIXELS, resize_size=round(_PIXELS * own.resize_size / own.image_size),
                                  fit=own.fit, decode_to_scale=own.decode_to_scale)
    for batch in datasets.eval_batches(source, input=input, batch_size=128, process_index=0, process_count=1,
                                       threads=run.config.run.loader_threads):
        kept = batch["mask"]
        rows[batch["index"][kept]] = batch["image"][kept].reshape(kept.sum(), -1) / np.float32(255)
        progress(int((batch["index"] >= 0).sum()))
    return rows


def _protocol(run: Run, split: _Split, readable: dict[str, np.ndarray], seed: int) -> dict:
    train, config = split.sources["train"], run.config
    given = "validation" in split.sources
    counts = {"train": int((readable["train"] & ~split.aside).sum()),
              "validation": int((readable["validation"] if given else readable["train"] & split.aside).sum()),
              "test": int(readable["test"].sum())}
    return {
        "schema": "geodesic.probe", "version": 1, "workdir": run.workdir, "digest": run.digest, "step": run.step,
        "embedder": config.embedder.name, "input": stored.as_dict(config)["input"],
        "average_horizontal_flips": config.evaluation.average_horizontal_flips, "seed": seed,
        "images": counts, "classes": len(np.unique(train.labels)),
        "records": {part: identity.identity(source)["records"] for part, source in split.sources.items()},
        "validated_on": "given images" if given else
                        f"{fitting.VALIDATION_SHARE:g} of each class's training images, drawn by seed {seed}",
        "intervals": intervals.describe("test images"),
    }
