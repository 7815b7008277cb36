"""What benchmarks/published.py runs, and that the committed tables are those of the committed records."""

import json

import pytest

from benchmarks import published
from geodesic.configs import grocery, papers, protocols
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


@pytest.mark.parametrize("name", published.RUNS)
def test_the_committed_table_is_that_of_the_committed_records(name):
    rows = json.loads((RESULTS / f"{name}.json").read_text())
    assert published.markdown(rows, name) == (RESULTS / f"{name}.md").read_text()
    for row in rows:
        run = next(run for run in published.RUNS[name] if run.name == row["run"])
        for place, seed in enumerate(row["seeds"]):
            kept = RESULTS / "records" / name / f"{run.name}_{seed}"
            metrics = {}
            for protocol in run.protocols:
                metrics |= record.read(str(kept / f"{protocol}.json"))["metrics"]
            assert {metric: values[place] for metric, values in row["metrics"].items()} == {
                metric: metrics[metric] for metric in run.metrics}
