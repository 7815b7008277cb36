"""What each number of a layer stands for, with the controls that say whether single numbers are special at all.

A number of a layer, averaged over its map, is a neuron. The class that it tells best is chosen on one half of the
images and scored on the other. The same is done with axes of the same space that are turned at random, with the
network before its training, and with shuffled classes: a share of neurons that tell a class says little without those.

Bau, Zhou, Khosla, Oliva, Torralba: Network Dissection: Quantifying Interpretability of Deep Visual Representations,
2017, arXiv:1704.05796.
"""

import contextlib
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from geodesic import datasets
from geodesic.configs import stored
from geodesic.datasets import identity
from geodesic.errors import UserError
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.protocols import regions
from geodesic.experiments.trained import features, inputs, network
from geodesic.experiments.trained.run import Run
from geodesic.metrics import channels

STRONGEST, HIGH_AUC, ALIKE = 8, 0.9, 0.95
_LEAST = 2                # images of a class in each half
_MOST_BYTES = 4 * 10**9   # of maps that are kept on the disk
_AXES = 2048              # that a control has at least: few of them have no 95th percentile to speak of
_BASES, _SMALL = 40, 256  # that are turned at least, in a space of so many numbers at most: larger ones take long
_REPLICATES = 10_000


class Neurons(NamedTuple):
    """What has been found of the C neurons of a layer on N images, those of a source that could be read.

    record: what neurons.json holds. places: i[N], of the images in their source. values: f32[N,C]. names: of the K
    classes. positive: bool[N,K], which images are of which. usable: i[U], the classes that have images enough.
    scoring: bool[N], the half that scores; all where there are no classes. selected: the class of each neuron, a place
    in `names`, with its AUC; None without classes. strongest: i[C,S], rows of `values`, the strongest first, of the
    half that scores. regions: bool[C,S,h,w], the places of each that made the neuron fire; None where there is no map.
    """

    record: dict
    places: np.ndarray
    values: np.ndarray
    names: list[str]
    positive: np.ndarray
    usable: np.ndarray
    scoring: np.ndarray
    selected: channels.Selected | None
    kinds: channels.Kinds
    alike: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    strongest: np.ndarray
    regions: np.ndarray | None


def dissect(run: Run, source: datasets.Source, layer: str = "embedding", *, folder: str = "", seed: int = 0,
            progress: Callable = lambda what, images: contextlib.nullcontext(lambda count: None)) -> Neurons:
    """Finds what the neurons of a layer stand for.

    Args:
      run: the model.
      source: images of classes, of several each where it has tags. Of one class alone, nothing is told apart.
      layer: of `run.layers`; maps are averaged over their places.
      folder: where features are kept; default: in the run's workdir.
      seed: of the halves, the rotations, and the shuffles.
      progress: (what, images) -> a context whose value is told of images as they are gone through.

    Raises UserError, before anything is computed, for a layer that there is not, for images of which none can be read,
    and for classes that have fewer than two images in each half.
    """
    names, positive = _check(run, source, layer, seed)
    shape = run.layers[layer]
    as_map = len(shape) == 3 and 4 * len(source) * math.prod(shape) < _MOST_BYTES
    with progress("features", len(source)) as advance:
        kept = features.of(run, source, (layer,), folder=folder, pooled=not as_map, progress=advance)[layer]
    values = _pooled(kept.values)
    places, left_out = inputs.usable(source, values, kept.readable, kept.problems, f"layer {layer!r} is")
    if not len(places):
        raise UserError(f"layer {layer!r} is finite for none of the {len(source)} images: the weights are not those of "
                        f"a trained model")
    values, positive, labelled = values[places], positive[places], len(names) > 1
    scoring = halves(positive, seed) if labelled else np.ones(len(places), bool)
    usable, selected, compared = _usable(positive, scoring), None, {}
    if labelled:
        if len(usable) < 2:
            raise UserError(_too_few(len(usable), len(names)))
        selected = select(values, positive[:, usable], scoring)
        with progress("features of the untrained network", len(source)) as advance:
            untrained = _untrained(run, source, layer, folder, advance)[places]
        compared = controls(selected, values, untrained, positive[:, usable], scoring, seed)
        selected = selected._replace(concept=usable[selected.concept])
    rows = np.flatnonzero(scoring)
    strongest = rows[np.argsort(-values[rows], axis=0, kind="stable")[:STRONGEST].T]
    with progress("regions", len(np.unique(strongest))) as advance:
        maps = regions.maps(run, source, layer, kept.values, places, np.unique(strongest))
        fired = regions.of(maps, strongest, advance)
    found = Neurons({}, places, values, names, positive, usable, scoring, selected, channels.kinds(values),
                    channels.nearest_and_opposite(values), strongest, fired)
    return found._replace(record=_record(run, source, layer, seed, found, compared) | {"left_out": left_out})


def halves(positive: np.ndarray, seed: int) -> np.ndarray:
    """bool[N], which images score: half of those of each class, or of each set of classes, drawn by the seed.

    Example:
      >>> import numpy as np
      >>> from geodesic.experiments.protocols import dissecting
      >>> labels = np.array([0, 0, 0, 0, 1, 1])
      >>> scoring = dissecting.halves(labels[:, None] == np.arange(2), seed=3)
      >>> np.bincount(labels[scoring]).tolist()
      [2, 1]
    """
    _, group = np.unique(positive, axis=0, return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(positive))
    order = drawn[np.argsort(group.reshape(-1)[drawn], kind="stable")]
    scoring = np.zeros(len(positive), bool)
    scoring[order[::2]] = True
    return scoring


def select(values: np.ndarray, positive: np.ndarray, scoring: np.ndarray) -> channels.Selected:
    """The class that each neuron tells best on one half, scored on the other."""
    return channels.select(values[~scoring], positive[~scoring], values[scoring], positive[scoring])


def controls(own: channels.Selected, values, untrained, positive, scoring, seed: int) -> dict:
    """The same choice and the same scores, for axes that are not the neurons, and for classes that are not the images'.
    """
    def turned(turn):
        other = np.empty_like(values)
        other[~scoring], other[scoring] = channels.rotated(values[~scoring], (seed, turn), values[scoring])
        return other

    def shuffled(turn):  # other images for the classes are other classes for the images
        rng, drawn = np.random.default_rng((seed, turn)), np.arange(len(values))
        for half in (scoring, ~scoring):
            drawn[half] = rng.permutation(drawn[half])
        return values[drawn]

    size = values.shape[1]
    once = -(-_AXES // size)
    some = lambda make, turns: np.concatenate([select(np.concatenate([
        make(turn) for turn in range(start, min(start + once, turns))], axis=1), positive, scoring).scored
        for start in range(0, turns, once)])
    bases = max(once, _BASES) if size <= _SMALL else once
    scores = {"neurons": own.scored, "turned at random": some(turned, bases),
              "untrained network": select(untrained, positive, scoring).scored,
              "shuffled classes": some(shuffled, once)}
    level = float(np.percentile(scores["turned at random"], 95))
    rows = {name: {"axes": len(one), "median": float(np.median(one)), "share": float((one >= HIGH_AUC).mean()),
                   "above": float((one > level).mean())} for name, one in scores.items()}
    reached = (scores["turned at random"] >= HIGH_AUC).reshape(bases, size)
    return rows | {"level": level, "difference": _difference(rows["neurons"]["share"], reached, seed)}


def says(compared: dict) -> str:
    """In a sentence, whether neurons tell classes better than axes that are turned at random."""
    own, turned = compared["neurons"]["share"], compared["turned at random"]["share"]
    if own == turned and own in (0, 1):
        return (f"{'No neuron reaches' if own == 0 else 'All neurons reach'} an AUC of {HIGH_AUC:g}, and so it is with "
                f"axes of the same space turned at random: this share cannot tell them apart.")
    difference, low, high, over = compared["difference"].values()
    verdict = "are purer than" if low > 0 else "are less pure than" if high < 0 else "are not measurably purer than"
    above = compared["neurons"]["above"]
    tail = f" {above:.1%} are purer than 95 % of the turned axes." if compared["level"] < 1 else ""
    if low <= 0:
        tail += " As a rule, a direction drawn at random tells a class as well as a neuron does."
    points = " to ".join(f"{100 * value:+.1f}" for value in (low, high))
    return (f"Single neurons {verdict} axes of the same space turned at random: {own:.1%} of the neurons reach an AUC "
            f"of {HIGH_AUC:g}, and {turned:.1%} of the turned axes, a difference of {100 * difference:+.1f} points "
            f"({points}, 95 % {over}); of the untrained network's neurons, "
            f"{compared['untrained network']['share']:.1%}.{tail}")


def of_neuron(place: int, found: Neurons, paths: list[str]) -> dict:
    """What neurons.json has of a neuron. paths: of all images of the source."""
    pairs = lambda which, how: [[int(one), round(float(r), 4)] for one, r in zip(which[place], how[place], strict=True)]
    near, how, opposite, against = found.alike
    one, kinds = {"neuron": place}, found.kinds
    if found.selected is not None:
        chosen, scored, low, high = (round(float(values[place]), 4) for values in found.selected[1:])
        # Where all images of the class are ahead of all others, DeLong's interval has no width, and says nothing.
        low, high = (low, high) if low < high else (None, None)
        one |= {"class": found.names[found.selected.concept[place]], "auc": scored, "low": low, "high": high,
                "auc_where_chosen": chosen}
    fired = [None] * STRONGEST if found.regions is None else map(regions.as_text, found.regions[place])
    return one | {
        "silent": round(float(kinds.silent[place]), 4), "dead": bool(kinds.dead[place]),
        "saturated": bool(kinds.saturated[place]), "nearest": pairs(near, how), "opposite": pairs(opposite, against),
        "strongest": [{"path": paths[found.places[row]], "value": float(found.values[row, place]),
                       "region": region} for row, region in zip(found.strongest[place], fired, strict=False)]}


def concepts(source: datasets.Source) -> tuple[list[str], np.ndarray]:
    """(names of K classes, bool[N,K], which images are of which): by their tags where the source has some."""
    if getattr(source, "tags", None) is not None:
        return [*source.tag_names], np.asarray(source.tags, bool)
    present = np.unique(source.labels)
    return [source.class_names[label] for label in present], source.labels[:, None] == present


def _check(run: Run, source: datasets.Source, layer: str, seed: int) -> tuple[list[str], np.ndarray]:
    run.check_layers(layer)
    names, positive = concepts(source)
    if len(names) > 1 and (number := len(_usable(positive, halves(positive, seed)))) < 2:
        raise UserError(_too_few(number, len(names)))
    if not any(_reads(source, place) for place in range(len(source))):
        raise UserError(f"none of the {len(source)} images can be read"
                        + (f": {datasets.problem(source, 0)}" if len(source) else ""))
    return names, positive


def _reads(source: datasets.Source, place: int) -> bool:
    try:
        datasets.decode(source[place])
    except (ValueError, OSError):
        return False
    return True


def _too_few(number: int, classes: int) -> str:
    return (f"{number} of the {classes} classes have {_LEAST} images or more in both halves, one to choose each "
            f"neuron's class and one to score it: give images of two classes at least, four of each")


def _usable(positive: np.ndarray, scoring: np.ndarray) -> np.ndarray:
    """i[U]: the classes with images enough, of them and not of them, in both halves."""
    counts = [(positive[half].sum(axis=0), (~positive[half]).sum(axis=0)) for half in (scoring, ~scoring)]
    return np.flatnonzero(np.min(counts, axis=(0, 1)) >= _LEAST)


def _pooled(values: np.ndarray) -> np.ndarray:
    """f32[N,C] in memory."""
    if values.ndim == 2:
        return np.array(values)
    return np.concatenate([values[start:start + 256].mean(axis=(1, 2)) for start in range(0, len(values), 256)])


def _untrained(run: Run, source, layer: str, folder: str, advance) -> np.ndarray:
    start = network.untrained(run.embedder, run.config)
    return features.of(run, source, (layer,), folder=folder, variables=start, progress=advance)[layer].values


def _difference(share: float, turned: np.ndarray, seed: int) -> dict:
    """From the share of the neurons to that of a basis turned at random, with the central 95 % of such bases.

    turned: bool[T,C], which axes of each basis reach HIGH_AUC. Few bases are of many axes: the share of another one is
    drawn as if its axes were independent, at a probability that is known by these axes alone.
    """
    shares, over = turned.mean(axis=1), f"of {len(turned)} bases turned at random"
    if len(turned) < _BASES:
        rng, reached = np.random.default_rng(seed), turned.sum()
        drawn = rng.beta(reached + 0.5, turned.size - reached + 0.5, _REPLICATES)
        shares, over = rng.binomial(turned.shape[1], drawn) / turned.shape[1], "of a bootstrap over axes"
    low, high = np.percentile(share - shares, [2.5, 97.5])
    return {"value": float(share - turned.mean()), "low": float(low), "high": float(high), "over": over}


def _record(run: Run, source, layer: str, seed: int, found: Neurons, compared: dict) -> dict:
    config, kinds = run.config, found.kinds
    near, how, _, _ = found.alike
    return {
        "schema": "geodesic.neurons", "version": 1, "workdir": run.workdir, "digest": run.digest, "step": run.step,
        "embedder": config.embedder.name, "layer": layer, "input": stored.as_dict(config)["input"],
        "average_horizontal_flips": config.evaluation.average_horizontal_flips, "seed": seed,
        "records": identity.identity(source)["records"], "images": len(found.places),
        "chosen_on": int((~found.scoring).sum()), "scored_on": int(found.scoring.sum()),
        "classes": len(found.names), "usable_classes": len(found.usable),
        "dead": int(kinds.dead.sum()), "saturated": int(kinds.saturated.sum()),
        "alike": int((how[:, 0] >= ALIKE).sum()) if how.shape[1] else 0,
        "map": None if found.regions is None else list(found.regions.shape[2:]), "controls": compared,
        "says": says(compared) if compared else "All images are of one class: nothing can be told apart.",
        "environment": workdirs.environment(jax.devices()),
        "neurons": [of_neuron(place, found, source.paths) for place in range(len(near))]}
