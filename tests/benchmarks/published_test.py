"""What benchmarks/published.py runs, and that the committed tables are those of the committed records."""

import json

import pytest

from benchmarks import published
from geodesic.configs import grocery, papers, protocols, stored
from geodesic.experiments.protocols import record

RESULTS = published.ROOT / "benchmarks" / "results"


@pytest.mark.parametrize("run", [run for runs in published.RUNS.values() for run in runs], ids=lambda run: run.name)
def test_a_run_names_a_configuration_and_metrics_that_are(run):
    file, _, row = run.config.partition(":")
    config = grocery.get_config(row) if "grocery" in file else papers.load("omniglot").get_config(row)
    starts = any(word in run.config for word in ("pretrained", "finetuned"))
    assert run.pretrained == starts and config.embedder.name
    assert all(protocols.get(name) and protocols.definition(metric) for name in run.protocols for metric in run.metrics)


def test_a_cell_is_the_mean_each_seed_and_the_widest_interval():
    values = [{"value": 0.5, "low": 0.4, "high": 0.6}, {"value": 0.75, "low": 0.45, "high": 0.8}]
    assert published.cell(values) == "**62.50** (50.00, 75.00) [40.00, 80.00]"
    assert published.cell([{"value": 0.5, "low": None, "high": None}]) == "**50.00** (50.00)"


def test_a_method_without_a_figure_leaves_its_cell_empty():
    assert published.published(("one_shot_20way", "map@r"))[1] == "| people (published) | 95.50 |  |"


def test_rows_of_three_trunks_differ_in_the_trunk_and_its_steps_alone():
    def differing(ours, theirs):
        return {f"{section}.{name}" for section, of in theirs.items() if isinstance(of, dict)
                for name, value in of.items() if ours[section][name] != value} | {
                    name for name, value in theirs.items() if not isinstance(value, dict) and ours[name] != value}

    rows = {row: stored.as_dict(papers.load("omniglot").get_config(row))
            for row in ("background", "background_resnext", "background_inception_bn")}
    common = {"paper", "total_steps", "embedder.name", "schedule.warmup_epochs"}
    assert differing(rows["background"], rows["background_resnext"]) == common
    assert differing(rows["background"], rows["background_inception_bn"]) == common | {"embedder.stem"}


def test_differences_are_paired_by_seed_and_in_points():
    row = lambda title, values: {"title": title, "seeds": [0, 1, 2],
                                 "metrics": {"map@r": [{"value": value} for value in values]}}
    lines = published.differences([row("ours", [0.5, 0.6, 0.7]), row("other", [0.4, 0.5, 0.63])])
    assert lines[0] == "| less ours | map@r |" and lines[2].startswith("| other | -9.00 [-13.30, -4.70], p 0.01")
    assert published.differences([row("ours", [0.5])]) == []


@pytest.mark.parametrize("name", published.RUNS)
def test_the_committed_table_is_that_of_the_committed_records(name):
    rows = json.loads((RESULTS / f"{name}.json").read_text())
    assert published.markdown(rows, name) == (RESULTS / f"{name}.md").read_text()
    for row in rows:
        run = next(run for run in published.RUNS[name] if row["run"] in published.rows_of(run))
        for place, seed in enumerate(row["seeds"]):
            kept = RESULTS / "records" / name / f"{run.name}_{seed}"
            metrics = {}
            for one in published.rows_of(run)[row["run"]]:
                metrics |= record.read(str(kept / f"{one}.json"))["metrics"]
            assert set(run.metrics) <= metrics.keys() or published.TURNED in row["run"]
            assert {metric: values[place] for metric, values in row["metrics"].items()} == {
                metric: metrics[metric] for metric in run.metrics if metric in metrics}
