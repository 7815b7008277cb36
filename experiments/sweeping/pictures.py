"""A sweep's plots: every point with its interval, the metric against each numeric axis, curves with bands."""

import numpy as np
from matplotlib.figure import Figure

from geodesic.experiments.process import progress, storage
from geodesic.experiments.reporting.pictures import styled
from geodesic.experiments.sweeping import running
from geodesic.experiments.sweeping.statistics import Row


@styled
def points(rows: list[Row], metrics: tuple[str, ...], baseline: str) -> Figure:
    """Draws a line for each point: its seeds as dots, mean and 95 % interval, and the baseline's mean across."""
    figure = Figure(figsize=(4.2 * len(metrics) + 1.5, 0.34 * len(rows) + 1.1))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)
    for panel, metric in zip(panels[0], metrics, strict=True):
        for place, row in enumerate(rows):
            if metric not in row.means:
                continue
            values, mean = list(row.values[metric].values()), row.means[metric]
            panel.plot(values, [place] * len(values), ".", color="tab:grey", markersize=5)
            spread = [[mean.mean - mean.low], [mean.high - mean.mean]] if len(values) > 1 else None
            panel.errorbar(mean.mean, place, xerr=spread, fmt="o", color="tab:blue", capsize=3, markersize=5)
            if row.label == (baseline or rows[0].label):
                panel.axvline(mean.mean, color="tab:blue", linestyle=":", linewidth=1)
        panel.set(title=metric, yticks=range(len(rows)), yticklabels=[row.label for row in rows],
                  ylim=(len(rows) - 0.5, -0.5))
    return figure


@styled
def axes(rows: list[Row], metrics: tuple[str, ...]) -> Figure | None:
    """Draws the first metric against each field of two numeric values or more; a line for each setting of the rest."""
    fields = [field for field in dict.fromkeys(field for row in rows for field in row.trials[0].point)
              if len({row.trials[0].point[field] for row in rows if _numeric(row, field)}) > 1]
    metric, rows = metrics[0], [row for row in rows if metrics[0] in row.means]
    if not fields or not rows:
        return None
    figure = Figure(figsize=(4.6 * len(fields), 3.4))
    panels = figure.subplots(1, len(fields), squeeze=False)
    for panel, field in zip(panels[0], fields, strict=True):
        lines: dict[str, list[Row]] = {}
        for row in rows:
            if _numeric(row, field):
                rest = {name: value for name, value in row.trials[0].point.items() if name not in (field, "label")}
                lines.setdefault(", ".join(f"{name.rpartition('.')[2]}={value}" for name, value in rest.items()),
                                 []).append(row)
        for name, line in lines.items():
            line = sorted(line, key=lambda row: row.trials[0].point[field])
            means = [row.means[metric] for row in line]
            spread = np.nan_to_num([[one.mean - one.low for one in means], [one.high - one.mean for one in means]])
            panel.errorbar([row.trials[0].point[field] for row in line], [one.mean for one in means], yerr=spread,
                           marker="o", capsize=3, label=name or None)
        panel.set(xlabel=field, ylabel=metric)
        if 1 < len(lines) <= 8:
            panel.legend(fontsize=7)
    return figure


@styled
def curves(rows: list[Row], metric: str) -> Figure | None:
    """Draws the training loss and, where it was measured on the way, the metric: mean and range over seeds."""
    found = {name: {row.label: _curve(row, name) for row in rows} for name in ("loss", metric)}
    found = {name: {label: curve for label, curve in lines.items() if curve is not None and len(curve[0]) > 1}
             for name, lines in found.items()}
    found = {name: lines for name, lines in found.items() if lines}
    if not found:
        return None
    figure = Figure(figsize=(5 * len(found), 3.4))
    panels = figure.subplots(1, len(found), squeeze=False)
    for panel, (name, lines) in zip(panels[0], found.items(), strict=True):
        for label, (steps, values) in lines.items():
            panel.plot(steps, values.mean(0), label=label)
            panel.fill_between(steps, values.min(0), values.max(0), alpha=0.15)
        panel.set(xlabel="step", ylabel=name)
        if len(lines) <= 10:
            panel.legend(fontsize=7)
    return figure


def _curve(row: Row, name: str) -> tuple[list[int], np.ndarray] | None:
    """(steps, values [seeds, steps]) at the steps that all finished seeds have."""
    done = [trial for trial, record in zip(row.trials, row.records, strict=True) if record["state"] == "done"]
    logs = storage.each(lambda trial: progress.read_metrics(running.run_path(trial)), done)
    runs = [{record["step"]: record[name] for record in log if name in record} for log in logs]
    if not runs:
        return None
    steps = sorted(set.intersection(*map(set, runs)))
    return steps, np.array([[run[step] for step in steps] for run in runs])


def _numeric(row: Row, field: str) -> bool:
    point = row.trials[0].point
    return field in point and isinstance(point[field], int | float) and not isinstance(point[field], bool)
