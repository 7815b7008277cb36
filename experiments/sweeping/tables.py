"""A sweep's rows as text: Markdown, CSV and HTML."""

import csv
import html
import io
import math
import shlex
import statistics as std

from geodesic.experiments.process import progress
from geodesic.experiments.sweeping import running
from geodesic.experiments.sweeping.statistics import Interval, Row, probability
from geodesic.experiments.sweeping.trials import Trial

# After Holm's adjustment, a difference is called one below this.
_SIGNIFICANT = 0.05


def eta(records: list[dict]) -> str:
    """Writes ", about 1:02 of trials to go", from the mean of those that are done; "" before one is."""
    seconds = [record["seconds"] for record in records if record["state"] == "done"]
    left = sum(record["state"] in ("waiting", "running", "interrupted") for record in records)
    return f", about {progress.duration(std.mean(seconds) * left)} of trials to go" if seconds and left else ""


def markdown(sweep, rows: list[Row], path: str) -> str:
    header = _header(sweep)
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    lines += [f"| {' | '.join(cells)} |" for cells in _cells(sweep, rows)]
    failed = sum(record["state"] == "failed" for row in rows for record in row.records)
    done = [record for row in rows for record in row.records if record["state"] == "done"]
    compared = sum(any(difference.seeds for difference in row.differences.values()) for row in rows)
    notes = [f"{len(done)} trials done, {failed} failed. Mean over seeds and 95 % interval (Student's t). "
             f"Differences are paired by seed against {_baseline(sweep, rows)!r}; p of the paired t-test, after Holm's "
             f"adjustment for {compared} comparisons. {environment(done)}",
             f"`geodesic sweep --sweep={path} --workdir=...`"]
    return "\n".join([*lines, "", verdict(sweep, rows), "", *notes]) + "\n"


def environment(done: list[dict]) -> str:
    """Tells the hardware, versions, dates and commits of the trials."""
    found = [record["environment"] for record in done]
    unique = lambda values: ", ".join(sorted(set(values)))
    return (f"{unique(one['devices'] for one in found)}, {unique(one['machine'] for one in found)}, jax "
            f"{unique(one['packages']['jax'] for one in found)}, {unique(one['date'][:10] for one in found)}, commit "
            f"{unique(one['commit'] for one in found)}." + (f" Mind that {said}." if (said := mixed(done)) else ""))


def mixed(done: list[dict]) -> str:
    """What is to be said of the code of the trials where it is not one commit's; "" where it is."""
    commits = sorted({record["environment"]["commit"] for record in done})
    if len(commits) > 1:
        return f"the trials are of {len(commits)} commits ({', '.join(commits)})"
    return f"the code of the trials differs from its commit ({commits[0]})" if commits[0].endswith("+changes") else ""


def csv_text(sweep, rows: list[Row]) -> str:
    """Writes a line for each point and metric, with the seeds' own values."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["point", "metric", "seeds", "mean", "low", "high", "difference", "difference_low",
                     "difference_high", "p", "p_holm", "paper", "accelerator_hours", "values"])
    for row in rows:
        for metric in sweep.metrics:
            if metric not in row.means:
                continue
            difference = row.differences[metric] if metric in row.differences else None
            compared = [""] * 5
            if difference:
                compared = [*_interval(difference.interval), difference.p, difference.p_adjusted]
            values = row.values[metric]
            writer.writerow([row.label, metric, len(values), *_interval(row.means[metric]), *compared,
                             _paper(sweep, row, metric), f"{row.hours:.4f}",
                             " ".join(f"{seed}:{value:.6f}" for seed, value in sorted(values.items()))])
    return buffer.getvalue()


def html_table(sweep, rows: list[Row]) -> str:
    header = "".join(f"<th>{html.escape(cell)}</th>" for cell in _header(sweep))
    body = "\n".join("<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for tag, cell in
                                      zip(["th", *["td"] * len(cells)], cells, strict=False)) + "</tr>"
                     for cells in _cells(sweep, rows))
    return f"<table><tr>{header}</tr>\n{body}</table>"


def html_failures(trials: list[Trial], records: list[dict]) -> str:
    failed = [(trial, record) for trial, record in zip(trials, records, strict=True) if record["state"] == "failed"]
    if not failed:
        return "<p>None.</p>"
    return "\n".join(f"<h3>{html.escape(f'{trial.label}, seed {trial.seed} ({trial.hash})')}: "
                     f"{html.escape(record['reason'])}</h3>"
                     f"<pre>{html.escape(chr(10).join(record['last_lines']))}</pre>" for trial, record in failed)


def html_commands(rows: list[Row]) -> str:
    commands = {row.label: "\n".join(map(command, row.trials)) for row in rows if row.trials[0].config is not None}
    return "\n".join(f"<h3>{html.escape(label)}</h3><pre>{html.escape(text)}</pre>" for label, text in commands.items())


def command(trial: Trial) -> str:
    """The command that trains this trial alone: its folder has the whole configuration."""
    return shlex.join(["geodesic", "train", f"--config=stored:{trial.folder}/config.json",
                       f"--workdir={running.run_path(trial)}"])


def _header(sweep) -> list[str]:
    columns = [""]
    for metric in sweep.metrics:
        columns += [metric, "difference", "p"]
        columns += ["paper"] if any(metric in figures for figures in sweep.paper.values()) else []
    return [*columns, *(f"paper: {metric}" for metric in _papers_own(sweep)), "seeds", "hours"]


def _cells(sweep, rows: list[Row]):
    for row in rows:
        cells = [row.label]
        for metric in sweep.metrics:
            if metric in row.means:
                cells.append(_text(row.means[metric]))
            else:
                states = {record["state"] for record in row.records}
                cells.append("failed" if states == {"failed"} else "/".join(sorted(states)))
            difference = row.differences[metric] if metric in row.differences else None
            known = difference is not None and difference.seeds
            cells += [_text(difference.interval, "+") if known else "",
                      probability(difference.p_adjusted) if known else ""]
            if any(metric in figures for figures in sweep.paper.values()):
                cells.append(str(_paper(sweep, row, metric)))
        cells += [str(_paper(sweep, row, metric)) for metric in _papers_own(sweep)]
        counted = max((len(values) for values in row.values.values()), default=0)
        yield [*cells, str(counted), f"{row.hours:.3f}"]


def _text(interval: Interval, sign: str = "") -> str:
    mean = f"{interval.mean:{sign}.4f}"
    return mean if math.isnan(interval.low) else f"{mean} ({interval.low:{sign}.4f}, {interval.high:{sign}.4f})"


def verdict(sweep, rows: list[Row]) -> str:
    """Tells which differences to the baseline are more than chance, in a sentence for each metric."""
    lines = []
    for metric in sweep.metrics:
        found = [(row.label, row.differences[metric]) for row in rows if metric in row.differences]
        found = [(label, one) for label, one in found if one.seeds]
        if not found:
            lines.append(f"* {metric}. Nothing has been run that could be compared with {_baseline(sweep, rows)!r}.")
            continue
        real = [(label, one) for label, one in found if one.p_adjusted < _SIGNIFICANT]
        sides = ["; ".join(label for label, one in real if (one.interval.mean > 0) == up) for up in (True, False)]
        unsure = "; ".join(label for label, one in found if one.p_adjusted >= _SIGNIFICANT)
        untested = "; ".join(label for label, one in found if math.isnan(one.p_adjusted))
        lines.append(f"* {metric}. Above {_baseline(sweep, rows)!r}: {sides[0] or 'none'}. "
                     f"Below: {sides[1] or 'none'}. May be chance (p of {_SIGNIFICANT:g} or more): {unsure or 'none'}."
                     f"{f' Not tested, for want of a second seed: {untested}.' if untested else ''}")
    return "\n".join(lines)


def _interval(interval: Interval) -> list[str]:
    return ["" if math.isnan(value) else f"{value:.6f}" for value in interval]


def _paper(sweep, row: Row, metric: str):
    return sweep.paper[row.label][metric] if row.label in sweep.paper and metric in sweep.paper[row.label] else ""


def _papers_own(sweep) -> list[str]:
    """Lists the metrics that were published for these points and that the sweep does not have, as on other data."""
    return [metric for metric in dict.fromkeys(metric for figures in sweep.paper.values() for metric in figures)
            if metric not in sweep.metrics]


def _baseline(sweep, rows: list[Row]) -> str:
    return sweep.baseline or rows[0].label
