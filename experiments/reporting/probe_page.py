"""The page, the table and the CSV of a probe (protocols/probing.py)."""

import base64
import collections
import csv
import html
import io
import json
import os

import numpy as np
from matplotlib.figure import Figure

from geodesic.experiments.protocols import probing
from geodesic.experiments.reporting import page, pictures

_TEMPLATE = os.path.join(os.path.dirname(__file__), "probe_page.html")
_METHODS = {"logistic": ("logistic regression", "C", "c"), "knn": ("nearest neighbours", "k", "k"),
            "ridge": ("ridge regression", "alpha", "alpha")}
# Pairs of classes that are shown, and pictures of each.
_PAIRS, _PICTURES = 10, 6


def render(probe: probing.Probe, paths: list[str], read: pictures.Reader, credit: str = "") -> str:
    """The page. paths: of all test images. read: their pictures by these."""
    record, ours = probe.record, _ours(probe.record)
    few = ours["few_label"]
    return page.render(
        _TEMPLATE, f"Probe of {record['embedder']}", protocol=html.escape(describe(record)), cards=_cards(record),
        results=_table(["features", "numbers", "method", "chosen", "validation", "test", "interval"], _rows(record)),
        chosen=html.escape(choice(record)), curve=page.plot(pictures.png(_curve(record)), "accuracy over C"),
        few_note="Mean test accuracy of a logistic regression on so many images of each class (all that it has, where "
                 "it has fewer), over draws of them; the interval is 1.96 standard errors of that mean. C is chosen on "
                 "the validation images, which are more than those that are fitted.",
        few_table=_table(["labels a class", "chosen C", "validation", "test", "interval"], [
            [str(one["labels"]), f"{one['c']:.2g}", f"{one['validation']:.3f}", *_told(one["test"])] for one in few]),
        few_plot=page.plot(pictures.png(_few(record)), "accuracy by labels a class") if few else "",
        tried=_table(["layer", "features", "C", "validation"], [
            [one["layer"], one["normalize"], f"{one['c']:.2g}", f"{one['validation']:.4f}"]
            for one in record["candidates"]]) if record["candidates"] else "<p>One layer, one kind of features.</p>",
        confusions=_confusions(probe, paths, read),
        environment=html.escape(json.dumps({name: record[name] for name in (
            "workdir", "digest", "step", "input", "seed", "images", "records", "environment")}, indent=2)),
        credit=html.escape(credit))


def describe(record: dict) -> str:
    """What was probed, on what, in a sentence or three."""
    images, kind = record["images"], {"raw": "as they are", "unit": "as unit vectors"}[record["normalize"]]
    kind += " (chosen on the validation images)" if record["asked"] == "auto" else ""
    return (f"Frozen features of {record['embedder']}, layer {record['layer']}, {record['input']['image_size']} px, "
            f"{kind}. {images['train']:,} images of {record['classes']:,} classes fit, {images['validation']:,} "
            f"validate ({record['validated_on']}), {images['test']:,} test.")


def choice(record: dict) -> str:
    """The chosen C, with what its neighbours have reached on the validation images."""
    found = _ours(record)["logistic"]
    near = ", ".join(f"{one['c']:.3g}: {one['validation']:.4f}" for one in found["neighbours"])
    edge = (" It lies at the edge of the sweep: a wider one may find a better." if found["at_edge"]
            else " It lies inside of the sweep.")
    return f"C {found['c']:.3g} of 45 from 1e-6 to 1e5, by validation accuracy ({near}).{edge}"


def table(record: dict) -> list[list[str]]:
    """Head and rows, for a terminal."""
    return [["features", "method", "chosen", "validation", "test", "95 % interval"],
            *([name, method, chosen, validation, test, interval]
              for name, _, method, chosen, validation, test, interval in _rows(record))]


def to_csv(record: dict) -> str:
    """Every number: a line for each method's result, for each value that was tried, and for each number of labels."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["features", "method", "what", "setting", "value", "validation", "test", "low", "high"])
    for name, found in record["results"].items():
        for method, (_, setting, key) in _METHODS.items():
            one = found[method]
            writer.writerow([name, method, "chosen", setting, one[key], one["validation"], *one["test"].values()])
            writer.writerows([name, method, "tried", setting, row[key], row["validation"], "", "", ""]
                             for row in one["curve"])
        writer.writerows([name, "logistic", "few labels", "labels a class", one["labels"], one["validation"],
                          *one["test"].values()] for one in found.get("few_label", ()))
    return text.getvalue()


def _ours(record: dict) -> dict:
    return next(iter(record["results"].values()))


def _rows(record: dict) -> list[list[str]]:
    return [[name, str(found["size"]), _METHODS[method][0], f"{_METHODS[method][1]} {found[method][key]:.3g}",
             f"{found[method]['validation']:.4f}", *_told(found[method]["test"])]
            for name, found in record["results"].items() for method, (_, _, key) in _METHODS.items()]


def _told(metric: dict) -> list[str]:
    interval = "" if metric["low"] is None else f"{metric['low']:.4f} to {metric['high']:.4f}"
    return [f"{metric['value']:.4f}", interval]


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = lambda row, tag: "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
    return (f'<table class="text"><tr>{cells(head, "th")}</tr>'
            + "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows) + "</table>")


def _cards(record: dict) -> str:
    ours = _ours(record)
    controls = {name: found["logistic"]["test"]["value"] for name, found in list(record["results"].items())[1:]}
    rival = max(controls, key=controls.get, default="")
    beside = f"{controls[rival]:.3f} {html.escape(rival)}" if rival else ""
    cards = [("logistic regression", ours["logistic"]["test"]["value"], beside),
             ("nearest neighbours", ours["knn"]["test"]["value"], f"k {ours['knn']['k']}"),
             ("ridge regression", ours["ridge"]["test"]["value"], "")]
    cards += [(f"{one['labels']} a class", one["test"]["value"], "few labels") for one in ours["few_label"]]
    return "\n".join(f'<div class="card"><div class="name">{name}</div><div class="value">{value:.3f}</div>'
                     f'<div class="rival">{note}</div></div>' for name, value, note in cards)


@pictures.styled
def _curve(record: dict) -> Figure:
    figure = Figure(figsize=(9, 3.2))
    axis = figure.subplots()
    for name, found in record["results"].items():
        curve = found["logistic"]["curve"]
        line, = axis.plot([one["c"] for one in curve], [one["validation"] for one in curve], marker=".", label=name)
        axis.axvline(found["logistic"]["c"], color=line.get_color(), linewidth=0.8, linestyle=":")
    axis.set(xscale="log", xlabel="C", ylabel="validation accuracy", ylim=(0, None))
    axis.legend()
    return figure


@pictures.styled
def _few(record: dict) -> Figure:
    figure = Figure(figsize=(9, 3.2))
    axis, few = figure.subplots(), _ours(record)["few_label"]
    x, tests = [one["labels"] for one in few], [one["test"] for one in few]
    axis.plot(x, [one["value"] for one in tests], marker="o", label="few labels")
    if all(one["low"] is not None for one in tests):
        axis.fill_between(x, [one["low"] for one in tests], [one["high"] for one in tests], alpha=0.2, linewidth=0)
    full = _ours(record)["logistic"]["test"]["value"]
    axis.axhline(full, color="grey", linestyle=":", label="all training images")
    axis.set(xscale="log", xticks=x, xticklabels=map(str, x), xlabel="labels a class", ylabel="test accuracy",
             ylim=(0, None))
    axis.minorticks_off()
    axis.legend(loc="lower right")
    return figure


def _confusions(probe: probing.Probe, paths: list[str], read: pictures.Reader) -> str:
    wrong = np.flatnonzero(probe.predictions != probe.labels)
    pairs = collections.Counter(zip(probe.labels[wrong].tolist(), probe.predictions[wrong].tolist(), strict=True))
    parts, names = [], probe.class_names
    for (label, answer), count in pairs.most_common(_PAIRS):
        of_class = int((probe.labels == label).sum())
        shown = wrong[(probe.labels[wrong] == label) & (probe.predictions[wrong] == answer)][:_PICTURES]
        parts.append(f"<h3>{html.escape(f'{names[label]} taken for {names[answer]}: {count} of {of_class}')}</h3>"
                     f'<div class="row">{"".join(_picture(paths[probe.places[place]], read) for place in shown)}</div>')
    return "\n".join(parts) or "<p>none</p>"


def _picture(path: str, read: pictures.Reader) -> str:
    buffer = io.BytesIO()
    pictures.thumbnail(path, 112, read).save(buffer, "JPEG", quality=82)
    return (f'<figure class="miss" title="{html.escape(path)}"><img alt="" src="data:image/jpeg;base64,'
            f'{base64.b64encode(buffer.getvalue()).decode()}"></figure>')
