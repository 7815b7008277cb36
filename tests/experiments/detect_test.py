"""Boxes of a trained detector: as a table, CSV, COCO's results and sheets; what cannot be read is said."""

import csv
import io
import json
import pathlib
import types

import jax
import numpy as np
import PIL.Image
import pytest

from geodesic.errors import UserError
from geodesic.experiments import detect
from geodesic.experiments.process import mesh as meshes
from tests.experiments import drawn


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A detector of one step, that reports whatever it finds."""
    folder = tmp_path_factory.mktemp("detected")
    config = drawn.config(drawn.data(folder / "drawn"), total_steps=1, detection__smallest_score=0.0,
                          detection__kept=3, evaluation__evaluators=(("detection", 0.0),))
    mesh = meshes.make(jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(meshes, "make", lambda devices=None: mesh)
        yield drawn.untrained(folder / "run", config, mesh)


@pytest.fixture(scope="module")
def pictures(run):
    """A folder of three pictures, one of them broken."""
    folder = pathlib.Path(run.workdir).parent / "photos"
    folder.mkdir()
    for place in range(2):
        picture, _ = drawn.draw(np.random.default_rng(place))
        PIL.Image.fromarray(picture).save(folder / f"{place}.png")
    (folder / "2.png").write_bytes(b"\x89PNG broken")
    return str(folder)


def detected(run, **values):
    given = dict(workdir=run.workdir, images="", source="", path="", threshold=0.0, format="", out="", sheet="")
    return detect.main(run.config, types.SimpleNamespace(**given | values))


def test_a_table_of_a_folder(run, pictures, capsys):
    assert detected(run, images=pictures) == 0
    shown = capsys.readouterr().out
    assert shown.count("skipped: ") == 1 and "2.png" in shown and f"paths are below {pictures}" in shown
    for place, found in enumerate(run.detect([f"{pictures}/0.png", f"{pictures}/1.png"])):
        assert len(found.boxes) == 3
        lines = shown[shown.index(f"{place}.png"):].splitlines()[:3]
        for line, box, score, label in zip(lines, found.boxes, found.scores, found.classes, strict=True):
            assert run.class_names[label] in line and f"{score:.2f}" in line
            assert " ".join(f"{side:.0f}" for side in box) in line


def test_csv_and_cocos_results(run, pictures, tmp_path, capsys):
    assert detected(run, images=pictures, format="csv") == 0
    rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert detected(run, images=pictures, out=str(tmp_path / "found.json")) == 0
    assert "6 boxes in 2 picture(s)" in capsys.readouterr().out
    results = json.loads((tmp_path / "found.json").read_text())
    assert len(rows) == len(results) == 6
    for row, one in zip(rows, results, strict=True):
        left, top, right, bottom = (float(row[name]) for name in ("x1", "y1", "x2", "y2"))
        assert one["bbox"] == pytest.approx([left, top, right - left, bottom - top], abs=0.011)
        assert one["file_name"] == row["path"] and one["score"] == pytest.approx(float(row["score"]))
        assert one["category_name"] == row["class"] and one["category_id"] == {"green": 1, "red": 2}[row["class"]]
    assert [one["image_id"] for one in results] == [1] * 3 + [2] * 3


def test_the_ids_of_a_source_are_kept(run, tmp_path):
    """Category ids 3 and 7, and those of pictures from 100 on, as in the file."""
    path = run.config.test_data.path
    assert detected(run, source="coco", path=path, out=str(tmp_path / "found.json")) == 0
    results = json.loads((tmp_path / "found.json").read_text())
    assert {one["image_id"] for one in results} == {*range(100, 110)}
    assert {(one["category_name"], one["category_id"]) for one in results} <= {("green", 3), ("red", 7)}


def test_a_threshold_and_sheets(run, pictures, tmp_path):
    scores = np.concatenate([found.scores for found in run.detect([f"{pictures}/0.png", f"{pictures}/1.png"])])
    limit = float(np.median(scores))
    assert detected(run, images=pictures, threshold=limit, out=str(tmp_path / "found.csv"),
                    sheet=str(tmp_path / "sheet.html")) == 0
    assert (tmp_path / "found.csv").read_text().count("\n") == 1 + (scores >= limit).sum()
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("<figure class=") == 2 and f"scores from {limit:g} on" in page
    assert detected(run, images=pictures, sheet=str(tmp_path / "sheet.png")) == 0
    assert PIL.Image.open(tmp_path / "sheet.png").size[0] > 500


def test_what_cannot_be_is_one_line(run, pictures, tmp_path):
    for given, message in (
            ({}, "--images=... is required"), ({"images": pictures, "path": "x"}, "--path needs --source"),
            ({"images": pictures, "sheet": "sheet.jpg"}, "--sheet is a .png or a .html file"),
            ({"images": pictures, "threshold": 1.5}, "--threshold is a score between 0 and 1; got 1.5"),
            ({"images": f"{pictures}/2.png", "out": str(tmp_path / "a.json")}, "none of the 1 pictures")):
        with pytest.raises(UserError, match=message):
            detected(run, **given)
    assert not list(tmp_path.iterdir())
