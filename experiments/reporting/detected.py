"""The report of a detector: COCO's numbers, curves of precision and recall, errors, and the best and worst images."""

import html
import os
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from geodesic.experiments.process import progress
from geodesic.experiments.protocols import detecting
from geodesic.experiments.reporting import detections, pictures, report_sections
from geodesic.metrics import boxes as geometry
from geodesic.metrics import detection, detection_scores

TEMPLATE = os.path.join(os.path.dirname(__file__), "detected.html")
# Images at each end, and classes whose curves are drawn, those with the most objects.
_IMAGES, _CURVES = 6, 10
_CARDS = ("ap", "ap50", "ap75", "ar@100")


class Point(NamedTuple):
    """Where a detector is cut: at the score of the highest F1 over all images, IoU .5.

    Attributes:
      score: detections from this score on are kept.
      right, wrong, objects: i[I], of each image.
    """

    score: float
    right: np.ndarray
    wrong: np.ndarray
    objects: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """f[I], 2 right / (right + wrong + objects); 1 of an image where nothing is, and nothing was found."""
        whole = self.right + self.wrong + self.objects
        return np.where(whole > 0, 2 * self.right / np.maximum(whole, 1), 1.0)


def parts(folder: str, measured: dict, arrays: dict, read: pictures.Reader) -> dict[str, str]:
    """HTML of the template's sections, but for those that every report has. read: from a path to u8[H,W,3]."""
    found, there = detecting.from_arrays(arrays)
    matches, names = detection.match(found, there), arrays["class_names"].tolist()
    own, protocol = measured["detection"], measured["protocol"]
    return {
        "protocol": html.escape(f"{protocol['images']:,} images with {protocol['boxes']:,} objects of "
                                f"{protocol['classes']:,} classes. {protocol['detection']}."),
        "cards": "\n".join(_card(name, own["metrics"][name]["value"]) for name in _CARDS if name in own["metrics"]),
        "metrics": report_sections.table(
            ("metric", "value", f"{own['interval']['level']:.0%} over images"),
            [(name, f"{entry['value']:.4f}", detecting.span(entry)) for name, entry in own["metrics"].items()]),
        "papers": report_sections.papers(folder),
        "curves": report_sections.plot(training(progress.read_metrics(folder)), "training curves"),
        "precision": report_sections.plot(precision_and_recall(matches, names), "precision and recall"),
        "classes": _classes(own["classes"]),
        "errors": _errors(own["errors"]),
        "images": _images(found, there, best_point(matches), arrays["paths"].tolist(), names, read),
    }


def best_point(matches: detection.Matches) -> Point:
    """The score at which F1 is highest, and what is right and wrong of each image there."""
    of_class = matches.classes.values()
    scores, hits, images = (np.concatenate([np.zeros(0), *values]) for values in zip(*(
        (one.scores[~one.ignored[0, 0]], one.hits[0, 0][~one.ignored[0, 0]], one.images[~one.ignored[0, 0]])
        for one in of_class), strict=True))
    objects = sum(one.positives[0] for one in of_class)
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + max(objects.sum(), 1))
    score = float(scores[order][f1.argmax()]) if len(order) else 1.0
    kept = scores >= score
    count = lambda chosen: np.bincount(images[chosen].astype(int), minlength=matches.images)
    return Point(score, count(kept & (hits > 0)), count(kept & (hits == 0)), np.asarray(objects))


def missed(found: detection.Detections, truth: detection.Truth) -> np.ndarray:
    """bool[G]: the objects of an image, no crowds, that no detection of their class has at an IoU of .5."""
    left = ~truth.crowd
    for label in np.unique(truth.classes):
        own, chosen = np.flatnonzero(truth.classes == label), detection.strongest(found, label)
        crowd = truth.crowd[own]
        overlap = geometry.overlaps(found.boxes[chosen], truth.boxes[own], crowd)
        taken = detection.assign(overlap, crowd, crowd[None], np.array([0.5]))[0, 0]
        left[own[taken[taken >= 0]]] = False
    return left


@pictures.styled
def training(metrics: list[dict]) -> Figure:
    """Draws the loss with its parts, and AP on the test images where it was measured."""
    figure = Figure(figsize=(10, 2.8))
    losses, scores = figure.subplots(1, 2)
    steps = [record for record in metrics if "loss" in record]
    for name in ("loss", "classification", "box", "centerness"):
        rows = [record for record in steps if name in record]
        if rows:  # not every head has a centerness
            losses.plot([row["step"] for row in rows], [row[name] for row in rows], label=name)
    losses.set(title="training loss and its parts", xlabel="step")
    losses.legend()
    for name in ("ap", "ap50"):
        rows = [record for record in metrics if name in record]
        scores.plot([row["step"] for row in rows], [row[name] for row in rows], marker="o", label=name)
    scores.set(title="on the test images", xlabel="step", ylim=(0, 1.02))
    scores.legend()
    return figure


@pictures.styled
def precision_and_recall(matches: detection.Matches, names: list[str]) -> Figure:
    """Draws the curve of each class, at an IoU of .5 and of .75; of many classes, those with the most objects."""
    figure = Figure(figsize=(10, 4))
    objects = {label: one.positives[0].sum() for label, one in matches.classes.items()}
    shown = sorted((label for label, count in objects.items() if count), key=lambda label: -objects[label])[:_CURVES]
    for axis, overlap in zip(figure.subplots(1, 2), (0.5, 0.75), strict=True):
        for label in shown:
            line = detection_scores.curve(matches, label, overlap)
            axis.plot(line.recall, line.precision, label=f"{names[label]} ({objects[label]})")
        axis.set(title=f"IoU {overlap:g}", xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axis.legend(fontsize=7)
    return figure


def _classes(classes: dict) -> str:
    shown = ("boxes", "images", "ap", "ap50", "ap75", "ar@100")
    told = lambda value: "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    return report_sections.table(("class", *shown), [(name, *(told(one.get(key)) for key in shown))
                                                     for name, one in classes.items()])


def _errors(found: dict) -> str:
    most = max(found["gains"].values()) or 1
    rows = "".join(
        f"<tr><th>{html.escape(kind)}</th><td>{found['counts'][kind]:,}</td><td>{gain:.4f}</td>"
        f'<td class="bar"><i style="width:{100 * gain / most:.1f}%"></i></td></tr>'
        for kind, gain in found["gains"].items())
    return (f'<p class="protocol">What AP50, {found["ap50"]:.4f}, would gain if errors of one kind alone were mended '
            f"(arXiv:2008.08115). Objects are counted of what is missed, detections of all else.</p>"
            f'<div class="scroll"><table><tr><th>kind</th><th>number</th><th>AP50 it costs</th><th></th></tr>{rows}'
            f"</table></div>")


def _images(found, there, point: Point, paths: list[str], names: list[str], read: pictures.Reader) -> str:
    """The images of the lowest and of the highest F1, those with more objects first among equals."""
    order = np.lexsort((-point.objects, point.f1))
    worst, best = order[:_IMAGES], np.lexsort((-point.objects, -point.f1))[:_IMAGES]
    shown = lambda rows: "".join(_cell(found[row], there[row], point, row, paths[row], names, read) for row in rows)
    return (f'<p class="protocol">Detections of scores from {point.score:.3f} on, where F1 over all images is highest '
            f"(IoU .5). Dashed: objects that were missed. Many a worst image is one whose objects have no box.</p>"
            f'<h3>Worst</h3><div class="row">{shown(worst)}</div><h3>Best</h3><div class="row">{shown(best)}</div>')


def _cell(found, truth, point: Point, row: int, path: str, names: list[str], read: pictures.Reader) -> str:
    try:
        pixels = read(path)
    except (OSError, ValueError, KeyError):
        return f'<figure class="boxes"><figcaption>{html.escape(path)} cannot be read now</figcaption></figure>'
    kept = detection.Detections(*(values[found.scores >= point.score] for values in found))
    left = missed(kept, truth)
    captions = [f"{names[label]} {score:.2f}" for label, score in zip(kept.classes, kept.scores, strict=True)]
    note = f"F1 {point.f1[row]:.2f}: {point.right[row]} right, {point.wrong[row]} wrong, {left.sum()} missed"
    return detections.cell(detections.Shown(
        path, pixels, np.concatenate([kept.boxes, truth.boxes[left]]),
        np.concatenate([kept.classes, truth.classes[left]]), captions + [detections.MISSED] * int(left.sum()), note))


def _card(name: str, value: float) -> str:
    return (f'<div class="card"><div class="name">{html.escape(name)}</div><div class="value">{value:.3f}</div></div>')
