"""Differences are to a network's own turned axes, and paired by seed; one sentence says what follows."""

import pytest

from benchmarks import purity
from geodesic.errors import UserError
from geodesic.experiments.sweeping import trials

# Loss -> what its neurons have over turned axes, for three seeds.
OVER = {"softmax": (0.00, 0.01, -0.01), "arcface": (0.20, 0.22, 0.19), "normface": (-0.10, -0.11, -0.10)}


@pytest.fixture
def found():
    axes = lambda value: {"share": value, "median": value}
    return {label: {str(seed): {"embedding": {"neurons": axes(0.5 + seed / 10 + over), "turned at random": axes(
        0.5 + seed / 10), "untrained network": axes(0.1)}} for seed, over in enumerate(each)}
        for label, each in OVER.items()}


def test_rows_are_paired_and_adjusted(found):
    table = purity.rows(found, "softmax")
    assert [(row["layer"], row["measure"], row["loss"]) for row in table] == [
        ("embedding", measure, label) for measure in ("share", "median") for label in OVER]
    arcface = table[1]
    assert [*arcface["over"].values()] == pytest.approx(OVER["arcface"])
    assert arcface["against"].mean == pytest.approx((0.20 + 0.21 + 0.20) / 3) and table[0]["against"] is None
    assert arcface["mean"].low > 0 > table[0]["mean"].low and arcface["turned"].mean == pytest.approx(0.6)
    assert 0 < arcface["p"] < 0.01 and table[2]["p"] > 0


def test_the_sentence_says_which_are_purer(found):
    said = purity.says(purity.rows(found, "softmax"), "softmax")
    assert said == ("embedding: axes are purer than turned ones with arcface, less pure with normface; against "
                    "softmax, arcface (+0.203) and normface (-0.103) differ.")
    alike = {label: found["softmax"] for label in found}
    assert purity.says(purity.rows(alike, "softmax"), "softmax") == (
        "embedding: axes are purer than turned ones with no loss; against softmax, no loss differs.")


def test_the_table_and_the_figure(found):
    record = {"baseline": "softmax", "seeds": 3, "images": "8 images", "options": purity.USUAL,
              "trials": {label: {"0": {"map@r": 0.5}} for label in OVER},
              "environment": {"devices": "1 x cpu", "machine": "x", "packages": {"jax": "1"}, "date": "2000-01-01T",
                              "commit": "0"}}
    table = purity.rows(found, "softmax")
    text = purity.described(record, table)
    assert text.count("| softmax | 0.600 (") == 2 and "| arcface | 0.803 (" in text and "arcface 0.500" in text
    assert len(purity.drawn(table).axes) == 2


@pytest.mark.parametrize("sweep, epochs, source, scale", [
    ("purity", 6, "omniglot", 32), ("purity:grocery", 8, "image_folder", 16)])
def test_the_sweep_trains_four_losses_with_the_same_seeds(tmp_path, sweep, epochs, source, scale):
    expanded = trials.expand(trials.load_sweep(sweep), str(tmp_path))
    assert len(expanded) == 12 and not any(trial.problem for trial in expanded)
    assert {(trial.config.loss.name, trial.seed) for trial in expanded} == {
        (loss, seed) for loss in ("softmax", "normface", "cosface", "arcface") for seed in range(3)}
    assert {trial.config.num_epochs for trial in expanded} == {epochs}
    assert {trial.config.test_data.name for trial in expanded} == {source}
    assert {trial.config.loss[trial.label].scale for trial in expanded if trial.label != "softmax"} == {scale}
    for trial in expanded:
        assert trial.config.train_data.classes[1] <= trial.config.test_data.classes[0]


def test_of_other_data_there_is_no_sweep():
    with pytest.raises(UserError, match="has no data 'cars'; it has omniglot, grocery"):
        trials.load_sweep("purity:cars")
