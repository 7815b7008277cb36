"""The page and the CSV of a scorecard (protocols/scorecard.py)."""

import csv
import html
import io
import json
import math
import os

from matplotlib.figure import Figure

from geodesic.experiments.protocols import run_scores, scorecard, scorecard_files
from geodesic.experiments.reporting import page, pictures

_TEMPLATE = os.path.join(os.path.dirname(__file__), "scorecard_page.html")
_COLORS = {scorecard.RUN: "tab:blue", scorecard.REFERENCE: "tab:green", scorecard.UNTRAINED: "tab:orange",
           scorecard.PIXELS: "tab:gray"}
_CARDS = ("map@r", "recall@1", "eer", "nmi", "5way_1shot", "linear probe", "mean")
_ACROSS = 4


def render(record: dict, credit: str = "") -> str:
    run = record["contestants"][scorecard.RUN]
    return page.render(
        _TEMPLATE, f"Scorecard of {run['name']}", protocol=html.escape(describe(record)), cards=_cards(record),
        scores=_table(record), left_out="".join(f"<li>{html.escape(line)}</li>" for line in left_out(record)) or
        "<li>nothing</li>",
        bars=page.plot(pictures.png(_bars(record)), "scores of each contestant, with intervals"),
        curves=page.plot(pictures.png(_curves(record)), "map@r by strength of corruption") if record["curves"] else
        '<p class="protocol">Corrupted images were not asked for.</p>',
        what="".join(f"<li><b>{html.escape(task)}</b>: {html.escape(text)} {html.escape(_interval(record, task))}</li>"
                     for task, text in record["what"].items()),
        speed=html.escape(_speed(record)),
        facts=html.escape(json.dumps({name: values for name, values in record.items() if name not in (
            "scores", "curves", "what", "left_out")}, indent=2)), credit=html.escape(credit))


def describe(record: dict) -> str:
    """Who is judged, on what, and beside whom."""
    protocol, environment, who = record["protocol"], record["environment"], record["contestants"]
    seen = lambda values: values.get("classes_trained_on") or 0
    beside = [f"{name} ({values['name']}" + (f", {seen(values):,} of the classes also trained on)" if seen(values) else
                                             ")") for name, values in who.items() if name != scorecard.RUN]
    run = who[scorecard.RUN]
    return (f"{run['workdir']} ({run['name']}, weights {run['digest']}, configuration {run['config_hash'][:12]}) on "
            f"{protocol['source']}: {run_scores.what_was_tested(record)}. Beside it: {', '.join(beside)}. "
            f"{environment['devices']}, {environment['machine']}, commit {environment['commit']}, seed "
            f"{record['seed']}, {environment['date'][:10]}.")


def left_out(record: dict) -> list[str]:
    """A line for each reason for which a task has no figures, with all whom it concerns."""
    whom = {}
    for one in record["left_out"]:
        whom.setdefault((one["task"], one["why"]), []).append(one["contestant"])
    return [f"{task} of {', '.join(names)}: {why}" for (task, why), names in whom.items()]


def to_csv(record: dict) -> str:
    """A line for each figure, and for each point of a curve of robustness."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["task", "metric", "better", "contestant", "value", "low", "high"])
    for row in record["scores"]:
        writer.writerows([row["task"], row["metric"], row["better"], name, metric["value"], metric["low"],
                          metric["high"]] for name, metric in row["of"].items())
    for name, curves in record["curves"].items():
        writer.writerows([scorecard.ROBUSTNESS, f"{kind} {strength}", "higher", name, value, None, None]
                         for kind, curve in curves.items() for strength, value in enumerate(curve) if strength)
    return text.getvalue()


def best(row: dict) -> set[str]:
    """Whose figure is the best; of equal ones all; of none better by itself, none."""
    values = {name: metric["value"] for name, metric in row["of"].items()}
    if not row["better"] or not values:
        return set()
    top = (min if row["better"] == "lower" else max)(values.values())
    return {name for name, value in values.items() if value == top}


def _table(record: dict) -> str:
    names = [*record["contestants"]]
    head = "".join(f"<th>{html.escape(name)}<br>{html.escape(values['name'])}</th>"
                   for name, values in record["contestants"].items())
    lines, task = [f"<tr><th></th>{head}</tr>"], ""
    for row in record["scores"]:
        if row["task"] != task:
            task = row["task"]
            lines.append(f'<tr class="ours"><th>{html.escape(task)}</th>{"<td></td>" * len(names)}</tr>')
        cells = ""
        for name in names:
            text = html.escape(scorecard_files.cell(row["of"].get(name)))
            cells += f"<td>{f'<b>{text}</b>' if name in best(row) else text}</td>"
        arrow = " (lower is better)" if row["better"] == "lower" else ""
        lines.append(f"<tr><th>{html.escape(row['metric'] + arrow)}</th>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _cards(record: dict) -> str:
    cards = []
    for row in record["scores"]:
        of = row["of"]
        if row["metric"] in _CARDS and scorecard.RUN in of:
            metric = "corrupted map@r" if row["task"] == scorecard.ROBUSTNESS else row["metric"]
            others = {name: values["value"] for name, values in of.items() if name != scorecard.RUN}
            rival = (min if row["better"] == "lower" else max)(others, key=others.get, default="")
            note = f"{scorecard_files.number(others[rival])} {rival}" if rival else ""
            cards.append(f'<div class="card"><div class="name">{html.escape(metric)}</div><div class="value">'
                         f'{of[scorecard.RUN]["value"]:.3f}</div><div class="rival">{html.escape(note)}</div></div>')
    return "\n".join(cards)


def _interval(record: dict, task: str) -> str:
    found = record["intervals"].get(task)
    return "" if found is None else (f"Intervals: the central {100 * found['level']:g} % of {found['resamples']:,} "
                                     f"draws of {found['over']}.")


def _speed(record: dict) -> str:
    speed, environment = record["speed"], record["environment"]
    ranges = "; ".join(f"{name} {min(rates):,.4g} to {max(rates):,.4g} images a second"
                       for name, rates in speed["rates"].items())
    return (f"{speed['batch']} images at a time on {environment['devices']} ({environment['machine']}), load "
            f"{speed['load']} at the end, slowest to fastest round: {ranges}.")


@pictures.styled
def _bars(record: dict) -> Figure:
    """An axis for each figure that says which is better; robustness has its own picture."""
    rows = [row for row in record["scores"] if row["better"] and row["task"] != scorecard.ROBUSTNESS]
    down = math.ceil(len(rows) / _ACROSS)
    figure = Figure(figsize=(10, 1.9 * down))
    names, axes = [*record["contestants"]], figure.subplots(down, _ACROSS, squeeze=False).ravel()
    for axis, row in zip(axes, rows, strict=False):
        for place, name in enumerate(names):
            metric = row["of"].get(name)
            if metric is not None:
                known = metric["low"] is not None
                reach = [[max(metric["value"] - metric["low"], 0)], [max(metric["high"] - metric["value"], 0)]]  \
                    if known else None
                axis.barh(place, metric["value"], xerr=reach, color=_COLORS[name], height=0.7,
                          error_kw={"elinewidth": 1, "ecolor": "black"})
        lower = row["better"] == "lower"
        axis.set(title=row["metric"] + ", lower is better" * lower, xlim=(0, None if lower else 1),
                 ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)),
                 yticklabels=names if axis in axes[::_ACROSS] else [""] * len(names))
        axis.grid(False, axis="y")
    for axis in axes[len(rows):]:
        axis.axis("off")
    return figure


@pictures.styled
def _curves(record: dict) -> Figure:
    kinds = [*next(iter(record["curves"].values()))]
    figure = Figure(figsize=(10, 2.9))
    axes = figure.subplots(1, len(kinds), sharey=True)
    for axis, kind in zip(axes, kinds, strict=True):
        for name, curves in record["curves"].items():
            axis.plot(curves[kind], marker=".", color=_COLORS[name], label=name)
        axis.set(title=kind, xlabel="strength", ylim=(0, None), xticks=range(len(curves[kind])))
    axes[0].set_ylabel("map@r")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(_COLORS))
    return figure
