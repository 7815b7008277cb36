"""Does a margin make the axes of an embedding purer than directions drawn at random?

    geodesic sweep --sweep=purity --workdir=runs/purity            # four losses, three seeds; goes on where it stopped
    python -m benchmarks.purity --workdir=runs/purity --out=benchmarks/results/purity

    geodesic sweep --sweep=purity:grocery --workdir=runs/purity_grocery         # the same of photographs
    python -m benchmarks.purity --sweep=purity:grocery --workdir=runs/purity_grocery --out=purity_grocery

Of every trial of the sweep that is done, the neurons of two layers are held against axes of the same space turned at
random, as `geodesic neurons` does: the embedding, and the last map, whose ReLU the axes are those of. The images are of
classes never trained on: one half chooses the class of an axis, the other scores it. What a loss does is the difference
of its network's neurons to their own turned axes, and that against softmax's, paired by seed. What is done is kept in
OUT.json, and not done again.
"""

import html
import json
import os
import pathlib

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks import turns
from geodesic.experiments.process import workdir
from geodesic.experiments.protocols import dissecting
from geodesic.experiments.reporting import page, pictures
from geodesic.experiments.sweeping import running, statistics, trials
from geodesic.experiments.trained import loading
from geodesic.experiments.training import data

USUAL = {"sweep": "purity", "layers": "embedding,stage3", "seed": 0}
# Of the neurons, and of the axes turned at random.
MEASURES = {"share": f"share of axes with AUC >= {dissecting.HIGH_AUC:g}", "median": "median AUC"}


def measured(trial: trials.Trial, layers: list[str], seed: int) -> dict:
    """Layer -> the controls of `geodesic neurons`, of a trial's network on its own test data."""
    config = loading.stored_config(running.run_path(trial))
    run, source = loading.load(running.run_path(trial), config), data.test_source(config)
    return {layer: dissecting.dissect(run, source, layer, seed=seed).record["controls"] for layer in layers}


def rows(found: dict, baseline: str) -> list[dict]:
    """A row for each layer, measure and loss, of found: label -> seed -> layer -> controls.

    "over": seed -> the neurons' value less the turned axes'. "mean": of these, with its interval. "against": that to
    the baseline's, paired, with p after Holm's adjustment for all losses of the layer and measure.
    """
    result = []
    for layer in next(iter(next(iter(found.values())).values())):
        for measure in MEASURES:
            value = lambda label, axes, layer=layer, measure=measure: {
                seed: one[layer][axes][measure] for seed, one in found[label].items()}
            over = {label: {seed: own - value(label, "turned at random")[seed]
                            for seed, own in value(label, "neurons").items()} for label in found}
            others = {label: statistics.paired(over[label], over[baseline]) for label in found if label != baseline}
            adjusted = dict(zip(others, statistics.holm([one.p for one in others.values()]), strict=True))
            result += [{"layer": layer, "measure": measure, "loss": label,
                        "neurons": statistics.interval([*value(label, "neurons").values()]),
                        "turned": statistics.interval([*value(label, "turned at random").values()]),
                        "untrained": statistics.interval([*value(label, "untrained network").values()]),
                        "over": over[label], "mean": statistics.interval([*over[label].values()]),
                        "against": None if label == baseline else others[label].interval,
                        "p": None if label == baseline else adjusted[label]} for label in found]
    return result


def says(table: list[dict], baseline: str) -> str:
    """One sentence for each layer, on the share alone: the measure that was named before anything was run."""
    sentences = []
    for layer in dict.fromkeys(row["layer"] for row in table):
        own = [row for row in table if row["layer"] == layer and row["measure"] == "share"]
        purer = [row["loss"] for row in own if row["mean"].low > 0]
        less = [row["loss"] for row in own if row["mean"].high < 0]
        differ = [f"{row['loss']} ({row['against'].mean:+.3f})" for row in own if row["against"] and row["p"] < 0.05]
        sentences.append(
            f"{layer}: axes are purer than turned ones with {', '.join(purer) or 'no loss'}"
            + (f", less pure with {', '.join(less)}" if less else "")
            + f"; against {baseline}, {' and '.join(differ) or 'no loss'} differ{'s' if len(differ) < 2 else ''}.")
    return " ".join(sentences)


def described(record: dict, table: list[dict]) -> str:
    """The tables in Markdown."""
    span = lambda one, form=".3f": f"{one.mean:{form}} ({one.low:{form}} to {one.high:{form}})"
    lines = ["# Does a margin make axes purer than directions drawn at random?", "", says(table, record["baseline"]),
             ""]
    for layer in dict.fromkeys(row["layer"] for row in table):
        for measure, what in MEASURES.items():
            lines += [f"**{layer}**: {what}", "",
                      f"| loss | neurons | turned at random | difference | to {record['baseline']}'s, paired | p |",
                      "|---|---|---|---|---|---|"]
            lines += [f"| {row['loss']} | {span(row['neurons'])} | {span(row['turned'])} | {span(row['mean'], '+.3f')} "
                      "| " + (f"{span(row['against'], '+.3f')} | {row['p']:.3f} |" if row["against"] else " | |")
                      for row in table if (row["layer"], row["measure"]) == (layer, measure)] + [""]
    done, environment = record["trials"], record["environment"]
    scores = "; ".join(f"{label} {np.mean([one['map@r'] for one in each.values()]):.3f}"
                       for label, each in done.items())
    return "\n".join([*lines, f"Mean over {record['seeds']} seeds and 95 % interval (Student's t); p after Holm's "
                      f"adjustment. {record['images']}. map@r of the networks: {scores}. {environment['devices']}, "
                      f"{environment['machine']}, jax {environment['packages']['jax']}, {environment['date'][:10]}, "
                      f"commit {environment['commit']}; `geodesic sweep --sweep={record['options']['sweep']}`, then "
                      f"`python -m benchmarks.purity --sweep={record['options']['sweep']}`."]) + "\n"


@pictures.styled
def drawn(table: list[dict]) -> Figure:
    """A point for each seed: neurons less turned axes, by loss."""
    panels = list(dict.fromkeys((row["layer"], row["measure"]) for row in table))
    figure = Figure(figsize=(10, 2.9 * -(-len(panels) // 2)))
    for axis, panel in zip(figure.subplots(-(-len(panels) // 2), 2, squeeze=False).ravel(), panels, strict=False):
        own = [row for row in table if (row["layer"], row["measure"]) == panel]
        for place, row in enumerate(own):
            values = [*row["over"].values()]
            axis.plot([place] * len(values), values, "o", color="tab:blue", alpha=0.7)
            axis.plot([place - 0.2, place + 0.2], [np.mean(values)] * 2, color="black")
        axis.axhline(0, color="grey", linestyle=":")
        axis.set(title=f"{panel[0]}: {MEASURES[panel[1]]}", ylabel="neurons less turned", xticks=range(len(own)),
                 xticklabels=[row["loss"] for row in own])
    return figure


def main() -> None:
    options = turns.options(__doc__, workdir="runs/purity", out="purity", **USUAL)
    sweep = trials.load_sweep(options.sweep)
    given, out = {key: vars(options)[key] for key in USUAL}, pathlib.Path(options.out).with_suffix(".json")
    record = json.loads(out.read_text()) if out.exists() else {}
    if record.get("options") != given:
        record = {"options": given, "baseline": sweep.baseline, "found": {}, "trials": {}}
    for trial in trials.expand(sweep, options.workdir):
        state, seed = running.read(trial), str(trial.seed)
        if state["state"] != "done" or seed in record["found"].get(trial.label, {}):
            continue
        record["found"].setdefault(trial.label, {})[seed] = measured(trial, options.layers.split(","), options.seed)
        record["trials"].setdefault(trial.label, {})[seed] = state["scores"]
        record |= {"environment": workdir.environment(jax.devices()), "seeds": len(sweep.seeds)}
        source = data.test_source(trial.config)
        record["images"] = f"{len(source):,} images of {source.num_classes} classes never trained on, halved"
        workdir.write_json(str(out), record)
        print(f"{trial.label}, seed {seed}: done", flush=True)
    if not record["found"]:
        raise SystemExit(f"error: no trial of {options.sweep} is done in {os.path.abspath(options.workdir)}")
    table = rows(record["found"], record["baseline"])
    text = described(record, table)
    out.with_suffix(".md").write_text(text)
    template = str(pathlib.Path(__file__).with_name("purity.html"))
    out.with_suffix(".html").write_text(page.render(
        template, "Purer axes by a margin?", says=html.escape(says(table, record["baseline"])),
        figure=page.plot(pictures.png(drawn(table)), "neurons less turned axes, by loss and seed"),
        text=html.escape(text)))
    print(text)


if __name__ == "__main__":
    main()
