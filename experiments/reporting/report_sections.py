"""Parts of the report that are tables and plots: records and papers, ROC and DET, thresholds."""

import html

import numpy as np

from geodesic.experiments.process import storage
from geodesic.experiments.protocols import comparison, follow, intervals, record
from geodesic.experiments.reporting import galleries, page, pictures
from geodesic.experiments.trained import thresholds
from geodesic.metrics import bootstrap, verification

# Pairs grow with the square of the images that the band is drawn from.
_BAND_IMAGES, _BAND_RESAMPLES = 1000, 200


def papers(folder: str) -> str:
    """The workdir's records: their metrics with intervals, and the verdicts against the papers."""
    if not storage.is_folder(record.folder(folder)):
        return ('<p class="protocol">No protocol has been followed: geodesic evaluate --protocol=NAME writes a '
                "record, which is put beside the paper's figures here.</p>")
    parts, rows = [], []
    for file in record.find(folder):
        measured = record.read(file)
        rows += comparison.compare(measured, file)
        parts.append(_record(measured))
    shown = [row for row in rows if row["published"] is not None]
    if shown:
        head = ("paper", "protocol", "metric", "published, %", "ours, %", "difference", "verdict", "why")
        body = [(row["paper"], row["protocol"], row["metric"], *comparison.cells(row), comparison.verdict(row),
                 row["why"]) for row in shown]
        parts.insert(0, table(head, body))
    return "\n".join(parts)


def _record(measured: dict) -> str:
    protocol, interval = measured["protocol"], measured["interval"]
    marks = (["selected on the test set"] if measured["selection"]["rule"] == record.TEST else []) + (
        [] if protocol["complete"] else ["not the protocol's images, or not all"])
    title = record.title(measured) + (f" · MARKED: {', '.join(marks)}" if marks else "")
    body = [(name, f"{metric['value']:.4f}", follow.span(metric)) for name, metric in measured["metrics"].items()]
    by_text = {}
    for name, text in measured["definitions"].items():
        by_text.setdefault(text, []).append(name)
    definitions = "".join(f"<li>{html.escape(', '.join(names))}: {html.escape(text)}</li>"
                          for text, names in by_text.items())
    return (f"<h3>{html.escape(title)}</h3>"
            + table(("metric", "value", f"{interval['level']:.0%} over {interval['over']}"), body)
            + f"<details><summary>definitions</summary><ul>{definitions}</ul></details>")


def table(head, rows) -> str:
    """HTML: a head, and rows of which each starts with its name."""
    cells = lambda values, tag: "".join(f"<{tag}>{html.escape(str(value))}</{tag}>" for value in values)
    body = "".join(f"<tr>{cells(row[:1], 'th')}{cells(row[1:], 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table class="text"><tr>{cells(head, "th")}</tr>{body}</table></div>'


def rates(measured: dict, arrays: dict, tested: galleries.Tested, seed: int) -> str:
    curves = {name: (arrays[f"far/{name}"], arrays[f"tar/{name}"]) for name in measured["scores"]}
    band, images = _band(tested, seed)
    few = "" if images == len(tested.labels) else f" of a sample of {images:,} images"
    figure = pictures.roc_and_det(curves, measured["trained"], band)
    return (plot(figure, "ROC and DET of the trained network and the baselines")
            + f'<p class="protocol">Band: {intervals.LEVEL:.0%} by the bootstrap over identities{few}, '
            f"{_BAND_RESAMPLES} resamples. Dotted: equal errors.</p>")


def _band(tested: galleries.Tested, seed: int) -> tuple[pictures.Band, int]:
    """(the band of the trained network's ROC, of how many images). Whole classes are left out where they are many."""
    order = np.random.default_rng(seed).permutation(np.unique(tested.labels))
    sizes = np.cumsum([np.count_nonzero(tested.labels == label) for label in order])
    kept = np.isin(tested.labels, order[:max(int(np.searchsorted(sizes, _BAND_IMAGES, side="right")), 2)])
    scores, same = verification.all_pairs(tested.embeddings[kept], tested.labels[kept])
    _, identity = np.unique(tested.labels[kept], return_inverse=True)
    first, second = np.triu_indices(len(identity), k=1)
    rates = bootstrap.Rates(scores, same, identity[first], identity[second], seed, resamples=_BAND_RESAMPLES)
    far = np.logspace(np.log10(1 / np.count_nonzero(~same)), 0, 60)
    tar = np.stack([rates.tar_at(rate)[1:] for rate in far])
    low, high = np.nanpercentile(tar, [50 * (1 - intervals.LEVEL), 50 * (1 + intervals.LEVEL)], axis=1)
    return pictures.Band(far, low, high), int(kept.sum())


def calibrated(folder: str) -> str:
    entries = thresholds.entries(folder)
    if not entries:
        return ""
    span = lambda interval: "" if interval[0] is None else f" [{interval[0]:.3g}, {interval[1]:.3g}]"
    return "<h3>Calibrated thresholds</h3>" + table(
        ("wanted FAR", "cosine", "measured FAR", "TAR", "on"),
        [(f"{entry['far']:g}", f"{entry['threshold']:.4f}{span(entry['threshold_interval'])}",
          f"{entry['measured_far']:.3g}{span(entry['far_interval'])}",
          f"{entry['tar']:.3g}{span(entry['tar_interval'])}",
          f"{entry['identities']:,} identities of {entry['origin']['name']} {entry['origin']['path']}".rstrip())
         for entry in entries])


def plot(figure, alt: str) -> str:
    return page.plot(pictures.png(figure), alt)
