"""Each task has the figures of the function that defines it."""

import numpy as np
import pytest

from geodesic.configs import default
from geodesic.errors import UserError
from geodesic.experiments.protocols import evaluation, scorecard_tasks
from geodesic.metrics import clustering, logistic, retrieval


def rows(noise, classes=6, each=10, size=8, seed=0):
    """Classes that overlap the more, the more noise there is; without any, each is one point."""
    rng, labels = np.random.default_rng(seed), np.repeat(np.arange(classes), each)
    raw = (np.eye(size)[labels] + noise * rng.normal(size=(len(labels), size))).astype(np.float32)
    return scorecard_tasks.Rows(3 * raw, retrieval.normalized(raw), labels, (1e-2,), seed)


def measured(given):
    """(what was measured, why the rest was not)."""
    found, refused = {}, []
    for task in scorecard_tasks.TASKS:
        try:
            found |= task.measure(given)
        except UserError as error:
            refused.append(str(error))
    return found, refused


def test_classes_apart_are_told_by_every_task():
    found, refused = measured(rows(0.01))
    perfect = {"map@r", "recall@1", "tar@far=0.01", "nmi", "ami", "bcubed_f", "5way_1shot", "5way_5shot",
               "linear probe", "nearest neighbours"}
    assert {name: found[name]["value"] for name in perfect} == pytest.approx(dict.fromkeys(perfect, 1.0))
    assert found["eer"]["value"] == 0 and found["effective_rank"]["value"] == pytest.approx(6, abs=0.3)
    assert refused == ["no group has 20 classes of 6 examples (shots and queries)"]
    assert [*found][:3] == ["map@r", "recall@1", "eer"] and not {"rows", "rows_sampled", "zero_rows"} & {*found}


def test_figures_are_those_of_evaluate_and_of_the_metrics():
    given, config = rows(0.4), default.get_config()
    found, _ = measured(given)
    scores = evaluation.score(given.raw, given.labels, config)
    for name in ("map@r", "recall@1", "eer", "tar@far=0.01"):
        assert found[name]["value"] == pytest.approx(scores[name], abs=1e-9), name
        assert found[name]["low"] < found[name]["value"] < found[name]["high"], name
    agreement = clustering.clustering_scores(given.unit, given.labels, seed=0)
    assert {name: found[name]["value"] for name in ("nmi", "ami", "bcubed_f")} == pytest.approx(
        {name: agreement[name] for name in ("nmi", "ami", "bcubed_f")})
    assert 0.2 < found["5way_1shot"]["value"] < found["5way_5shot"]["value"] < 1


def test_a_probe_learns_from_one_half_and_answers_for_the_other(monkeypatch):
    """Of 10 images of a class 5 are learnt, 1 of them chooses, and 5 test: 30 answers of 6 classes."""
    fitted, path = [], logistic.path
    monkeypatch.setattr(logistic, "path", lambda values, labels, *rest, **more: fitted.append(
        np.bincount(labels).tolist()) or path(values, labels, *rest, **more))
    found = scorecard_tasks._probe(rows(0.4))
    assert fitted == [[4] * 6, [5] * 6]
    for name in ("linear probe", "nearest neighbours"):
        assert 0.3 < found[name]["value"] < 1 and 30 * found[name]["value"] == pytest.approx(round(
            30 * found[name]["value"]))


def test_what_the_images_do_not_allow_is_said():
    alone = rows(0.1, classes=6, each=1)
    found, refused = measured(alone)
    assert {*found} <= {"mean_cosine", "std_mean", "std_min", "effective_rank", "uniformity", "hubness", "nmi", "ami",
                        "bcubed_f"}
    assert "no class has two images: there is nothing to retrieve" in refused
    assert "a probe needs two classes of two images or more" in refused
    collapsed = rows(0.1)._replace(unit=np.full((60, 8), 8 ** -0.5, np.float32), raw=np.ones((60, 8), np.float32))
    found, refused = measured(collapsed)
    assert not found and len(refused) == len(scorecard_tasks.TASKS) - 1
    broken = rows(0.1)
    broken.raw[3, 1] = np.nan
    assert scorecard_tasks._health(broken) == {"rows_with_nan": {"value": 1.0, "low": None, "high": None}}


def test_which_way_is_better():
    better = scorecard_tasks.better
    assert better("retrieval", "map@r") == "higher" and better("verification", "eer") == "lower"
    assert better("health", "hubness") == better("size", "parameters") == ""
