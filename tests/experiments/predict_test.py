"""Pictures named by a trained run: as a table, CSV, JSON and sheets; what cannot be read is said."""

import csv
import io
import json
import types

import numpy as np
import PIL.Image
import pytest

import geodesic
from geodesic.experiments import predict
from geodesic.experiments.trained import temperature
from tests.experiments import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    config = tiny.config(tiny.faces(folder / "faces", 3, 4), loss__name="softmax", total_steps=1)
    geodesic.train(config, folder / "run")
    (folder / "faces" / "class1" / "0.jpg").write_bytes(b"\xff\xd8 broken")
    return geodesic.load(folder / "run")


@pytest.fixture(scope="module")
def faces(run):
    return run.workdir[:-len("run")] + "faces"


def named(run, **values):
    given = dict(workdir=run.workdir, images="", source="", path="", top=2, format="", out="", sheet="")
    return predict.main(run.config, types.SimpleNamespace(**given | values))


def expected(run, faces):
    """(the paths that can be read, the names that they get)."""
    paths = [f"{faces}/class{label}/{place}.jpg" for label in range(3) for place in range(4)]
    paths.remove(f"{faces}/class1/0.jpg")
    return paths, run.predict(paths, top=2)


def test_a_table_of_a_folder(run, faces, capsys):
    assert named(run, images=faces) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("skipped: cannot read the image") and shown.count("skipped: ") == 1
    assert f"paths are below {faces}\n" in shown
    paths, rows = expected(run, faces)
    for path, ((name, sure), _) in zip(paths, rows, strict=True):
        (line,) = [line for line in shown.splitlines() if path.removeprefix(f"{faces}/") in line]
        assert line.split("│")[2].strip() == name and line.split("│")[3].strip() == f"{sure:.2f}"
    assert "a softmax of the classifier's logits; no temperature was fitted" in shown


def test_csv_and_json_are_nothing_else(run, faces, capsys):
    paths, rows = expected(run, faces)
    named(run, images=faces, format="csv")
    told = capsys.readouterr()
    found = [*csv.DictReader(io.StringIO(told.out))]
    assert [(row["path"], row["rank"], row["class"]) for row in found] == [
        (path, str(rank), name) for path, row in zip(paths, rows, strict=True)
        for rank, (name, _) in enumerate(row, start=1)]
    assert float(found[0]["probability"]) == pytest.approx(rows[0][0][1], rel=1e-5)
    assert "skipped: cannot read the image" in told.err
    named(run, images=faces, format="json")
    content = json.loads(capsys.readouterr().out)
    assert [image["path"] for image in content["images"]] == paths and len(content["skipped"]) == 1
    assert [[one["name"] for one in image["classes"]] for image in content["images"]] == [
        [name for name, _ in row] for row in rows]
    assert content["temperature"] is None and content["model"] == run.classifier_identity


def test_files_by_their_extension(run, faces, tmp_path, capsys):
    one = f"{faces}/class0/2.jpg"
    for name in ("one.json", "one.csv", "one.txt"):
        named(run, images=one, out=str(tmp_path / name), sheet=str(tmp_path / f"{name}.png"), top=1)
        assert f"1 picture(s) named in {tmp_path / name}" in capsys.readouterr().out
        assert PIL.Image.open(tmp_path / f"{name}.png").size[0] == 840
    assert json.loads((tmp_path / "one.json").read_text())["images"][0]["path"] == one
    assert (tmp_path / "one.csv").read_text().startswith("path,rank,class,probability\n")
    assert "│ 2.jpg" in (tmp_path / "one.txt").read_text()


def test_the_fitted_temperature_is_used_and_that_of_other_weights_is_not(run, faces, capsys):
    one = f"{faces}/class0/2.jpg"
    (before,), logits = run.predict(one, top=3), run.classifier.logits(run.embed(one, normalized=False))[0]
    temperature.save(run.workdir, run.classifier_identity, 5.0, {})
    named(run, images=one, format="json")
    told = capsys.readouterr()
    content = json.loads(told.out)
    warm = np.exp(logits / 5) / np.exp(logits / 5).sum()
    assert content["images"][0]["classes"][0]["probability"] == pytest.approx(warm.max(), rel=1e-4)
    assert content["temperature"] == 5.0 and "at the temperature 5, fitted on images" in content["probabilities"]
    temperature.save(run.workdir, {**run.classifier_identity, "step": 9}, 5.0, {})
    named(run, images=one, format="json")
    told = capsys.readouterr()
    content = json.loads(told.out)
    assert content["images"][0]["classes"][0]["probability"] == pytest.approx(before[0][1], rel=1e-4)
    assert content["temperature"] is None and "no temperature: " in told.err and "step 9 there, 1 here" in told.err


@pytest.mark.parametrize(("values", "told"), [
    ({}, "--images=... is required"), ({"images": "{faces}", "path": "x"}, "--path needs --source"),
    ({"images": "nowhere"}, "no image 'nowhere'"),
    ({"images": "{faces}", "sheet": "sheet.jpg"}, r"--sheet is a \.png or a \.html file"),
    ({"images": "{faces}", "top": 0}, "ask for at least one class"),
    ({"images": "{faces}/class1/0.jpg", "out": "{faces}/out.csv"}, "none of the 1 pictures of .* nothing written"),
])
def test_what_cannot_be_done_is_one_line(run, faces, values, told, tmp_path):
    given = {name: value if isinstance(value, int) else value.replace("{faces}", faces)
             for name, value in values.items()}
    with pytest.raises((geodesic.UserError, FileNotFoundError), match=told):
        named(run, **given)
    assert not (tmp_path.parent / "out.csv").exists()


def test_a_source_in_place_of_files(run, faces, capsys):
    named(run, source="image_folder", path=faces, format="csv", top=1)
    assert len(capsys.readouterr().out.splitlines()) == 1 + 11
