"""The table of a sweep, live while it runs: means over seeds, intervals, differences to the baseline, plots.

    geodesic sweep_report --sweep=margins --workdir=runs/margins [--watch] [--baseline=LABEL]

Writes report.md, report.csv and report.html (one file that opens offline) into the workdir, or to --out. A report is of
one commit, without changes; of other trials it is written with --changed alone, and says so.
"""

import html
import os
import time

import rich.console
import rich.live
import rich.table
from absl import flags

from geodesic.errors import UserError
from geodesic.experiments.process import cli, console, storage, workdir
from geodesic.experiments.reporting import page
from geodesic.experiments.reporting.pictures import png
from geodesic.experiments.sweeping import pictures, running, search, statistics, tables, trials

_TEMPLATE = os.path.join(os.path.dirname(__file__), "sweeping", "report.html")
_SECONDS, _SECONDS_IN_BUCKET = 2.0, 20.0  # between two looks


def define_flags() -> None:
    flags.DEFINE_string("sweep", "", "The sweep: a file with a get_sweep() or the name of one of configs/sweeps, and "
                        ":ARGUMENT where it takes one.")
    flags.DEFINE_bool("watch", False, "Show the table again every two seconds (of a bucket: twenty) until no "
                      "trial waits or runs.")
    flags.DEFINE_string("baseline", "", "Label of the point that others are compared with; default: the sweep's.")
    flags.DEFINE_string("out", "", "Where to write .md, .csv, .html and .png; default: report in --workdir.")
    flags.DEFINE_bool("changed", False, "Report trials of several commits too, or of code that differs from its "
                      "commit.")
    flags.DEFINE_string("storage", "", "A search's Optuna storage, where it is not the default one.")


def main(_, values) -> None:
    sweep = trials.load_sweep(values.sweep)
    sweep = sweep._replace(baseline=values.baseline or sweep.baseline)
    if not storage.is_folder(values.workdir):
        raise FileNotFoundError(f"no sweep in {values.workdir!r}: start it with geodesic sweep")
    expanded, records = read(sweep, values)
    if values.watch:
        with rich.live.Live(live_table(expanded, records), console=console.plain(), refresh_per_second=1) as live:
            while any(record["state"] in ("waiting", "running", "interrupted") for record in records):
                time.sleep(_SECONDS_IN_BUCKET if storage.is_remote(values.workdir) else _SECONDS)
                expanded, records = read(sweep, values)
                live.update(live_table(expanded, records))
    else:
        console.plain().print(live_table(expanded, records))
    write(sweep, expanded, records, values)


def read(sweep, values) -> tuple[list[trials.Trial], list[dict]]:
    if sweep.search:
        asked = search.points(sweep, values.workdir, values.storage)
        expanded = [trials.make(sweep, point, seed, values.workdir) for point in asked for seed in sweep.seeds]
    else:
        expanded = trials.expand(sweep, values.workdir)
    return expanded, storage.each(running.read, expanded)


def live_table(expanded: list[trials.Trial], records: list[dict]) -> rich.table.Table:
    """A row for each trial that is not simply done, and a count of each state with the time to go in the title."""
    count = {state: sum(record["state"] == state for record in records) for state in running.STATES}
    text = ", ".join(f"{number} {state}" for state, number in count.items() if number)
    table = rich.table.Table("trial", "state", "what it last said", title=f"{text}{tables.eta(records)}")
    for trial, record in zip(expanded, records, strict=True):
        if record["state"] in ("running", "interrupted", "failed"):
            said = (f"{record['reason']}: " + " ".join(record["last_lines"][-1:]) if record["state"] == "failed"
                    else running.last_line(trial))
            table.add_row(f"{trial.label}, seed {trial.seed} ({trial.hash})", record["state"], said)
    return table


def write(sweep, expanded, records, values) -> None:
    done = [record for record in records if record["state"] == "done"]
    if not done:
        print("no trial has finished: nothing written")
        return
    if (mixed := tables.mixed(done)) and not values.changed:
        raise UserError(f"{mixed}, and a report is of one commit, without changes: give --changed, and it says so, or "
                        f"run the sweep at one commit in another --workdir")
    rows = statistics.rows(expanded, records, sweep.metrics, sweep.baseline)
    out = values.out or os.path.join(values.workdir, "report")
    markdown = tables.markdown(sweep, rows, values.sweep)
    figures = {"axes": pictures.axes(rows, sweep.metrics), "curves": pictures.curves(rows, sweep.metrics[0]),
               "points": pictures.points(rows, sweep.metrics, sweep.baseline)}
    pngs = {name: png(figure) for name, figure in figures.items() if figure is not None}
    content = page.render(
        _TEMPLATE, os.path.basename(values.sweep), table=tables.html_table(sweep, rows),
        verdict=html.escape(tables.verdict(sweep, rows)),
        plots="\n".join(page.plot(png, name) for name, png in pngs.items()),
        failures=tables.html_failures(expanded, records), commands=tables.html_commands(rows),
        environment=html.escape(tables.environment(done)))
    workdir.write_atomically(f"{out}.md", markdown.encode())
    workdir.write_atomically(f"{out}.csv", tables.csv_text(sweep, rows).encode())
    workdir.write_atomically(f"{out}.html", content.encode())
    workdir.write_atomically(f"{out}.png", pngs["points"])
    rich.console.Console(soft_wrap=True).print(markdown, markup=False, emoji=False, highlight=False)
    print(f"written to {out}.md, .csv, .html and .png")


if __name__ == "__main__":
    cli.run(main, define_flags, required=("sweep", "workdir"), configured=False, alone=True,
            buckets=("workdir", "out"))
