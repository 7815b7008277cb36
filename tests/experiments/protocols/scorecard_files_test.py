"""What a file must hold to be a scorecard."""

import copy
import json

import pytest

from geodesic.errors import UserError
from geodesic.experiments.protocols import scorecard_files


def made(seed=0, records="0123", **scores):
    """A scorecard: "task/metric" with __ for the slash -> (value, low, high) of the run."""
    row = lambda name, metric: {
        "task": name.split("__")[0], "metric": name.split("__")[1], "better": {"eer": "lower", "rank": ""}.get(
            name.split("__")[1], "higher"), "of": {"run": dict(zip(("value", "low", "high"), metric, strict=True))}}
    return {
        "schema": "geodesic.scorecard", "version": 1, "workdir": "runs/a",
        "protocol": {"source": "orl_faces, classes 30..39", "records": records, "images": 100, "classes": 10,
                     "classes_trained_on": 0},
        "contestants": {"run": {"name": "resnet8, step 3", "digest": "ab", "config_hash": "cd", "step": 3}},
        "scores": [row(name, metric) for name, metric in scores.items()], "what": {}, "intervals": {}, "left_out": [],
        "curves": {}, "speed": {"batch": 32, "rates": {}}, "seed": seed, "unreadable": [], "command": "",
        "environment": {"date": "2026-01-01", "commit": "", "devices": "1 x cpu", "machine": ""},
    }


WHOLE = made(retrieval__map=(0.5, 0.4, 0.6))


@pytest.mark.parametrize(("path", "value", "why"), [
    ("schema", "geodesic.result", "does not say schema 'geodesic.scorecard'"),
    ("version", 2, "it is of version 2"),
    ("protocol.images", "100", "protocol.images is str, expected int"),
    ("contestants", {}, "contestants.run is missing"),
    ("scores", [], "it holds no score"),
    ("scores", [3], r"scores\[0\] is int, expected an object"),
    ("scores", [{"task": "retrieval"}], r"scores\[0\]\.metric is missing"),
    ("scores", [WHOLE["scores"][0] | {"of": {"run": {"value": float("nan"), "low": None, "high": None}}}],
     "retrieval, map of run.*expected a finite number"),
])
def test_what_is_damaged_is_refused_in_a_line(tmp_path, path, value, why):
    damaged = copy.deepcopy(WHOLE)
    *sections, field = path.split(".")
    place = damaged
    for section in sections:
        place = place[section]
    place[field] = value
    file = tmp_path / "card.json"
    file.write_text(json.dumps(damaged))
    with pytest.raises(UserError, match=why) as error:
        scorecard_files.read(str(file))
    assert "\n" not in str(error.value)


def test_scorecards_are_found_by_file_and_by_workdir(tmp_path):
    folder = tmp_path / "run" / "scorecard"
    folder.mkdir(parents=True)
    (folder / "scorecard.json").write_text(json.dumps(WHOLE))
    run, file, other = str(tmp_path / "run"), str(folder / "scorecard.json"), tmp_path / "other.json"
    other.write_text("[1, 2")
    assert scorecard_files.found([run, file, str(other), str(tmp_path)]) == {run: WHOLE, file: WHOLE}
    with pytest.raises(UserError, match="it is not JSON"):
        scorecard_files.read(str(other))
    with pytest.raises(FileNotFoundError, match="geodesic scorecard writes one"):
        scorecard_files.read(str(tmp_path / "none.json"))


def test_a_cell_has_its_interval():
    cell = scorecard_files.cell
    assert cell({"value": 0.51239, "low": 0.4, "high": 1 - 1e-8}) == "0.5124 [0.4000, 1]"
    assert cell({"value": 25557032.0, "low": None, "high": None}) == "25,557,032" and cell(None) == ""
