"""The reality check's labels, draws and power; its trainings are the programs' own."""

import json
import types

import numpy as np
import pytest
from scipy import stats

from benchmarks import reality_check, turns


def test_wrong_labels_are_of_the_trained_classes_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(reality_check, "TRAINED", (0, 30))
    names = [f"images_background/A/character{label:02}" for label in range(40)]
    label = np.repeat(np.arange(40), 20)
    np.savez(tmp_path / "o.npz", bits=np.zeros((800, 1379), np.uint8), label=label, names=np.array(names))
    path = reality_check.noisy(str(tmp_path / "o.npz"), str(tmp_path / "runs"), 0.3)
    noisy = np.load(path)["label"]
    changed = noisy != label
    assert changed[:600].sum() == 180 and not changed[600:].any()  # 30 % of the drawings of the first 30 characters
    assert set(noisy[changed]) <= set(range(30)) and len(set(noisy[changed])) > 20
    assert reality_check.noisy(str(tmp_path / "o.npz"), str(tmp_path / "runs"), 0.0) == str(tmp_path / "o.npz")


def test_every_loss_has_as_many_draws_and_its_papers_first():
    for noise in (0.0, 0.3):
        for method, space in reality_check.methods(noise).items():
            drawn = reality_check.draws(method, noise, 9)
            assert len(drawn) == 9 and drawn[0] == {name: paper for name, (paper, _) in space.items()}
            for name, (_, span) in space.items():
                assert all(span.low <= fields[name] <= span.high for fields in drawn)
    made = reality_check.config("o.npz", "runs", 0.0, "combined", {"scale": 20.0, "m1": 1.2, "m2": 0.4, "m3": 0.1}, 3)
    assert tuple(made.loss.combined.margins) == (1.2, 0.4, 0.1) and made.loss.combined.scale == 20.0 and made.seed == 3
    made = reality_check.config("o.npz", "runs", 0.0, "arcface, filter", {"filter_threshold": 0.2}, 0)
    assert (made.loss.name, made.loss.arcface.filter_threshold) == ("arcface", 0.2)


def test_the_detectable_difference_is_found_four_times_in_five(monkeypatch, tmp_path):
    """By simulation: seeds' differences of deviation .01, tested at 5 % over four comparisons."""
    table = "point,metric,values\nnormalised softmax,map@r,0:0.1 1:0.1 2:0.1\na,map@r,0:0.19 1:0.20 2:0.21\n"
    (tmp_path / "margins_before.csv").write_text(table)
    monkeypatch.setattr(reality_check, "_BEFORE", tmp_path / "margins_before.csv")
    effect = reality_check.detectable(10, 4)
    draws = np.random.default_rng(0).normal(effect, 0.01, (4000, 10))
    assert (stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05 / 4).mean() == pytest.approx(0.8, abs=0.03)


def test_a_result_names_the_one_commit_of_its_runs(tmp_path):
    asked = types.SimpleNamespace(workdir=str(tmp_path), draws=2, seeds=2)
    chosen = {"arcface": ({"scale": 64.0, "margin": 0.5}, 0.1)}
    runs = [run for of in (reality_check.drawn_runs(asked, 0.3), reality_check.tested_runs(asked, 0.3, chosen))
            for several in of.values() for run in several]
    (tmp_path / "runs").mkdir()
    for run in runs:
        reality_check.place(str(tmp_path), run).write_text(json.dumps({"run": run, "scores": {}, "commit": "abc"}))
    assert len(runs) == 3 * 2 + 2 and reality_check.commit_of(asked, 0.3, chosen) == "abc"
    reality_check.place(str(tmp_path), runs[-1]).write_text(json.dumps({"commit": "def"}))
    with pytest.raises(SystemExit, match="are of several commits, abc, def"):
        reality_check.commit_of(asked, 0.3, chosen)


def test_the_page_is_of_its_record():
    kept = turns.RESULTS / "reality_check"
    record = json.loads(kept.with_suffix(".json").read_text())
    assert reality_check.page(record) == kept.with_suffix(".md").read_text()
    for noise, found in record.items():
        assert set(found["losses"]) == set(reality_check.methods(float(noise)))
        assert all(len(row["map@r"]["seeds"]) == found["seeds"] for row in found["losses"].values())
