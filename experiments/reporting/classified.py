"""The section of a report on a classifier: classes, confusions with their pictures, and how sure it was."""

import html

import numpy as np
from matplotlib.figure import Figure

from geodesic.experiments.protocols import classifying, follow
from geodesic.experiments.reporting import galleries, page, pictures
from geodesic.metrics import classification, confidence

# Classes at each end, pairs that are confused, pictures of each pair, and errors shown.
_CLASSES, _PAIRS, _PICTURES, _ERRORS = 20, 8, 7, 18


def render(measured: dict, arrays: dict, tested: galleries.Tested) -> str:
    """HTML; "" of a run whose evaluation has no classifier."""
    if "classification" not in measured:
        return ""
    if "classified/precision" in arrays:
        precision, counts, names = (arrays[f"classified/{name}"] for name in ("precision", "images", "class_names"))
        return "\n".join(("<h2>Classification</h2>", _metrics(measured["classification"]),
                          "<h3>Average precision of each class</h3>",
                          _bars(precision, counts, names, "average precision")))
    labels, answers, sure, calibrated, names = (arrays[f"classified/{name}"] for name in (
        "labels", "answers", "confidence", "calibrated", "class_names"))
    after = calibrated if len(calibrated) else None
    return "\n".join((
        "<h2>Classification</h2>", _metrics(measured["classification"]),
        "<h3>Accuracy of each class</h3>", _bars(
            classification.accuracy_by_class(labels == answers, labels, len(names)),
            np.bincount(labels, minlength=len(names)), names, "accuracy"),
        "<h3>Classes taken for others</h3>", _confusions(labels, answers, names, sure, tested),
        "<h3>How sure it was</h3>", page.plot(pictures.png(reliability(labels == answers, sure, after)),
                                              "reliability diagram"),
        '<p class="protocol">Bars: how often answers of this confidence are right. On the diagonal a classifier is as '
        "right as it is sure. Below: answers of each confidence.</p>",
        "<h3>Surest errors</h3>", _errors(labels, answers, names, sure, tested)))


def _metrics(found: dict) -> str:
    after = found.get("calibrated", {})
    head = ("", "value", "95% over classes", *(["calibrated"] if after else []))
    body = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{metric['value']:.4f}</td><td>{follow.span(metric)}</td>"
        + (f"<td>{after[name]['value']:.4f}</td>" if name in after else "") + "</tr>"
        for name, metric in found["metrics"].items())
    why = (f"Calibrated: each half of the images at the temperature fitted on the other; of all it is "
           f"{found['temperature']:.3g}." if after else f"No temperature: {found['problem']}.")
    return (f'<p class="protocol">Probabilities: {html.escape(found["what"])}. {html.escape(why)}</p>'
            f'<div class="scroll"><table><tr>{"".join(f"<th>{name}</th>" for name in head)}</tr>{body}</table></div>')


def _bars(scores: np.ndarray, counts: np.ndarray, names: np.ndarray, what: str) -> str:
    """A bar for each class that has images, the best first. what: the score."""
    order = np.flatnonzero(counts)[np.argsort(-scores[counts > 0], kind="stable")]
    note = ""
    if len(order) > 2 * _CLASSES:
        note = (f"The {_CLASSES} best and the {_CLASSES} worst; {len(order) - 2 * _CLASSES:,} between them are left "
                f"out.")
        order = np.concatenate([order[:_CLASSES], order[-_CLASSES:]])
    rows = "".join(
        f"<tr><th>{html.escape(str(names[label]))}</th><td>{counts[label]}</td><td>{scores[label]:.3f}</td>"
        f'<td class="bar"><i style="width:{100 * scores[label]:.1f}%"></i></td></tr>' for label in order)
    return (f'<p class="protocol">{note}</p><div class="scroll"><table><tr><th>class</th><th>images</th>'
            f"<th>{what}</th><th></th></tr>{rows}</table></div>")


def _confusions(labels, answers, names, sure, tested: galleries.Tested) -> str:
    counts, parts = np.bincount(labels), []
    for label, answer, images in classification.largest_confusions(answers, labels, _PAIRS):
        title = f"{names[label]} taken for {names[answer]}: {images} of {counts[label]} images"
        places = np.flatnonzero((labels == label) & (answers == answer))
        shown = places[np.argsort(-sure[places], kind="stable")][:_PICTURES]
        right = np.flatnonzero((labels == answer) & (answers == answer))  # what it was taken for
        cells = [galleries.cell(tested, index, "miss", f"{sure[index]:.2f}") for index in shown]
        cells += [galleries.cell(tested, index, "hit", f"{names[answer]}") for index in right[:1]]
        parts.append(f'<p class="protocol">{html.escape(title)}</p><div class="row">{"".join(cells)}</div>')
    return "\n".join(parts) or "<p>none</p>"


def _errors(labels, answers, names, sure, tested: galleries.Tested) -> str:
    wrong = np.flatnonzero(labels != answers)
    shown = wrong[np.argsort(-sure[wrong], kind="stable")][:_ERRORS]
    told = lambda index: f"{names[answers[index]]} {sure[index]:.2f}, is {names[labels[index]]}"
    cells = [galleries.cell(tested, index, "miss", told(index)) for index in shown]
    return f'<div class="row">{"".join(cells)}</div>' if cells else "<p>none</p>"


@pictures.styled
def reliability(right: np.ndarray, sure: np.ndarray, calibrated: np.ndarray | None) -> Figure:
    """Draws the reliability diagram of confidences f[N] and, beside it, of the calibrated ones."""
    shown = {"as trained": sure} | ({} if calibrated is None else {"calibrated": calibrated})
    figure = Figure(figsize=(4.2 * len(shown), 4.4))
    axes = figure.subplots(2, len(shown), squeeze=False, height_ratios=(4, 1), sharex=True)
    edges = np.linspace(0, 1, classifying.BINS + 1)
    for (diagram, counts), (name, values) in zip(axes.T, shown.items(), strict=True):
        bins = confidence.reliability(values, right, bins=classifying.BINS)
        width = edges[1] - edges[0]
        diagram.bar(edges[:-1], np.nan_to_num(bins.accuracy), width, align="edge", color="tab:blue", alpha=0.75,
                    edgecolor="white")
        diagram.plot([0, 1], [0, 1], color="grey", linestyle=":")
        diagram.plot(bins.confidence, bins.accuracy, marker="o", markersize=3, color="black", linewidth=0)
        diagram.set(title=f"{name}: calibration error {bins.error:.3f}", ylim=(0, 1.01), xlim=(0, 1), ylabel="accuracy")
        counts.bar(edges[:-1], bins.count, width, align="edge", color="grey", edgecolor="white")
        counts.set(xlabel="confidence", ylabel="answers")
    return figure
