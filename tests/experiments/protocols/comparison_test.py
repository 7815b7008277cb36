import copy
import json
import re

import pytest

from geodesic.configs import default, papers, protocols, stored
from geodesic.experiments.protocols import comparison, record
from tests.experiments.protocols.scorecard_files_test import made as card


def made(paper="proxy_anchor:cub_resnet50", protocol="cub200", rule=record.TEST, **metrics):
    """A record as `evaluate` would have written it for this row."""
    module, row = papers.split(paper)
    config, wanted = module.get_config(row), protocols.get(protocol)
    config.init_from = "weights"
    return {
        "schema": record.SCHEMA, "version": record.VERSION,
        "protocol": {"name": wanted.name, "task": wanted.task, "data": wanted.data, "split": wanted.split,
                     "complete": True, "image_size": config.input.image_size, "resize": wanted.resize,
                     "fit": wanted.fit, "average_horizontal_flips": wanted.flips, "models": 1, "test": {}},
        "selection": {"rule": rule, "on": "", "candidates": []},
        "metrics": {name: {"value": value, "low": value - 0.01, "high": value + 0.01}
                    for name, value in metrics.items()},
        "definitions": {name: protocols.definition(name) for name in metrics}, "counts": {}, "seed": 0, "paper": paper,
        "config_hash": "", "config": stored.as_dict(config), "checkpoint": {"step": 1, "digest": ""},
        "code": {"commit": "", "dirty": False}, "packages": {}, "hardware": {"devices": "", "machine": ""},
        "interval": {"level": 0.95, "over": "classes", "resamples": 1000}, "wall_clock_seconds": 1.0, "date": "",
        "command": "",
    }


@pytest.mark.parametrize(("ours", "verdict", "status"), [
    (0.699, "reproduced", 0), (0.709, "reproduced", 0), (0.689, "reproduced", 0),
    (0.7091, "better", 1), (0.6889, "worse", 1)])
def test_verdicts_at_the_tolerance(ours, verdict, status):
    """Published 69.9 within 1.0 points."""
    rows = comparison.compare(made(**{"recall@1": ours}), "file")
    assert [row["verdict"] for row in rows] == [verdict]
    assert rows[0]["difference"] == pytest.approx(ours - 0.699)
    assert comparison.status(rows) == status
    assert comparison.status(rows, allow_better=True) == (1 if verdict == "worse" else 0)


def changed(measured, path, value):
    measured = copy.deepcopy(measured)
    *sections, field = path.split(".")
    place = measured
    for key in sections:
        place = place[key]
    place[field] = value
    return measured


@pytest.mark.parametrize(("path", "value", "why"), [
    ("protocol.complete", False, "not all of the protocol's images"),
    ("protocol.split", "random", "split random"),
    ("protocol.image_size", 256, r"image_size 256 \(paper 224\)"),
    ("protocol.average_horizontal_flips", True, r"average_horizontal_flips True \(paper False\)"),
    ("protocol.quarter_turns", True, r"images seen in four quarter turns \(paper as they are\)"),
    ("protocol.models", 4, r"models 4 \(paper 1\)"),
    ("selection.rule", record.LAST, "checkpoint is the last, the paper's selected on the test set"),
    ("config.optimizer.learning_rate", 1e-3, r"optimizer.learning_rate 0.001 \(paper 0.0001\)"),
    ("config.embedder.name", "resnet8", r"embedder.name resnet8 \(paper resnet50\)"),
    ("config.loss.proxy_anchor.margin", 0.2, "loss.proxy_anchor.margin 0.2"),
    ("config.init_from", "", "trained from scratch"),
])
def test_what_differs_is_not_compared(path, value, why):
    (row,) = comparison.compare(changed(made(**{"recall@1": 0.699}), path, value), "file")
    assert row["verdict"] == "not comparable" and comparison.status([row]) == 3
    assert re.search(why, row["why"])


def test_what_does_not_matter_is_compared():
    measured = made(**{"recall@1": 0.699})
    for path, value in (("config.run.log_every_steps", 5), ("config.seed", 3), ("config.embedder.dtype", "bfloat16"),
                        ("config.loss.arcface.margin", 0.1), ("config.train_data.path", "/elsewhere")):
        measured = changed(measured, path, value)
    assert comparison.compare(measured, "file")[0]["verdict"] == "reproduced"


def test_a_figure_chosen_on_test_is_not_compared_with_an_honest_paper():
    measured = made("arcface_torch:ms1mv3_r50", "ijb_c", rule=record.TEST, **{"tar@far=0.0001": 0.9637})
    rows = comparison.compare(measured, "file")
    assert [row["verdict"] for row in rows] == ["not comparable"] * 2
    assert "selected on the test set" in rows[0]["why"] and "does not have this metric" in rows[1]["why"]
    assert all(row["selected_on_test"] for row in rows) and "SELECTED ON TEST" in comparison.verdict(rows[0])


def test_ijb_switches_are_other_protocols():
    measured = made("arcface_torch:ms1mv3_r50", "ijb_c_n1d0f1", rule=record.LAST, **{"tar@far=0.0001": 0.9637})
    (row,) = comparison.compare(measured, "file")
    assert "nothing was published for this row under protocol ijb_c_n1d0f1" in row["why"]


def test_another_methods_figure_takes_any_recipe():
    figures = {"5way_1shot": 0.99, "5way_5shot": 0.997, "20way_1shot": 0.96, "20way_5shot": 0.98}
    measured = changed(made("omniglot:few_shot_vinyals", "omniglot_few_shot_vinyals", record.LAST, **figures),
                       "config.embedder.name", "resnet18")
    rows = comparison.compare(measured, "file")
    assert [row["verdict"] for row in rows] == ["reproduced", "reproduced", "reproduced", "worse"]


def test_files_folders_and_what_is_none(tmp_path):
    measured = made(**{"recall@1": 0.7})
    name = record.write(str(tmp_path / "run"), measured)
    assert record.find(str(tmp_path / "run")) == [name] == record.find(name)
    assert record.find(str(tmp_path / "run" / "records")) == [name]
    assert record.read(name) == measured
    with pytest.raises(FileNotFoundError, match="no record in"):
        record.find(str(tmp_path))
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"recall": 1}))
    with pytest.raises(ValueError, match="does not say schema"):
        record.read(str(other))


def test_what_is_free_in_a_recipe_is_a_field_or_a_section():
    fields = stored.flat(stored.as_dict(default.get_config()))
    for free in papers.FREE:
        assert free in fields or (free.endswith(".") and any(name.startswith(free) for name in fields)), free


def test_weights_that_a_paper_started_from_are_asked_for_under_any_recipe():
    """The figure of the ImageNet features alone: of whatever configuration, but never of a network without them."""
    row = "reality_check:cub_pretrained"
    measured = made(row, papers.split(row)[0].expected("cub_pretrained")[0]["protocol"], record.LAST,
                    **{"precision@1": 0.5, "map@r": 0.15})
    for found in comparison.compare(changed(measured, "config.init_from", ""), "file"):
        assert found["verdict"] == "not comparable" and found["why"].endswith("the paper from ImageNet weights")
    assert all("ImageNet weights" not in found["why"].replace("ImageNet weights alone", "")
               for found in comparison.compare(measured, "file"))


def test_scorecards_beside_each_other():
    """Intervals that touch do not exclude each other; of the EER the lower is the better."""
    one = card(retrieval__map=(0.5, 0.4, 0.6), verification__eer=(0.3, 0.25, 0.35), health__rank=(9.0, None, None))
    other = card(verification__eer=(0.1, 0.05, 0.2), retrieval__map=(0.7, 0.6, 0.8), size__bytes=(8.0, None, None))
    third = card(retrieval__map=(0.9, 0.85, 0.95))
    rows = comparison.side_by_side({"a": one, "b": other, "c": third})
    assert [(row["task"], row["metric"], row["apart"]) for row in rows] == [
        ("retrieval", "map", [("c", "a"), ("c", "b")]), ("verification", "eer", [("b", "a")]), ("health", "rank", []),
        ("size", "bytes", [])]
    assert rows[0]["of"]["b"] == {"value": 0.7, "low": 0.6, "high": 0.8} and rows[1]["of"]["c"] is None
    assert comparison.otherwise({"a": one, "c": third}) == ""


@pytest.mark.parametrize(("changes", "why"), [({"records": "4567"}, "they are of other test images"),
                                              ({"seed": 1}, "their seeds drew otherwise")])
def test_scorecards_of_other_images_tell_no_difference(changes, why):
    cards = {"a": card(retrieval__map=(0.5, 0.4, 0.6)), "b": card(retrieval__map=(0.9, 0.8, 1.0), **changes)}
    assert comparison.otherwise(cards) == why and comparison.side_by_side(cards)[0]["apart"] is None
