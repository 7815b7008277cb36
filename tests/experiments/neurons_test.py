"""The program: a table with its controls, neurons.json, a page, and one line for what it refuses."""

import html
import json
import os
import shutil
import types

import pytest

import geodesic
from geodesic.configs import stored
from geodesic.errors import UserError
from geodesic.experiments import neurons
from tests.experiments import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neurons")
    config = tiny.config(tiny.faces(folder / "faces", 3, 6), total_steps=1)
    return geodesic.train(config, folder / "run")


def says(run, overrides=None, **values):
    given = {"workdir": run.workdir, "layer": "stage1", "source": "", "path": "", "features": "", "out": "", "seed": 0,
             "overwrite": False, "picture": "", "visualize": []} | values
    neurons.main(stored.changed(run.config, overrides or {}), types.SimpleNamespace(**given))


@pytest.fixture(scope="module")
def written(run):
    says(run)
    return os.path.join(run.workdir, "neurons")


def test_the_runs_own_test_data_are_looked_at(run, written, capsys):
    says(run)  # again: the features are there
    told = capsys.readouterr().out
    with open(f"{written}/neurons.json") as file:
        record = json.load(file)
    assert record["images"] == 18 and record["layer"] == "stage1" and len(record["neurons"]) == 8
    assert record["says"] in told and "8 neurons: " in told and "turned" in told and "shuffled" in told
    assert f"{record['controls']['neurons']['median']:.3f}" in told and "written to" in told
    with open(f"{written}/neurons.html") as file:
        page = file.read()
    assert html.escape(record["says"]) in page and '"class2/5.jpg"' in page


def test_a_picture_is_asked_for_its_neurons_and_neurons_for_their_picture(run, written, capsys):
    picture = run.workdir[:-len("run")] + "faces/class1/3.jpg"
    says(run, picture=picture, visualize=["5", "2"])
    told = capsys.readouterr().out
    with open(f"{written}/neurons.json") as file:
        record = json.load(file)
    fires, values = record["picture"]["fires"], run.embed_source(run.source(picture), layer="stage1").embeddings[0]
    assert f"fire most for {picture}" in told
    assert f"  neuron {fires[0]['neuron']}: {fires[0]['deviations']:+.1f}" in told
    assert len(fires) == 8 and [one["deviations"] for one in fires] == sorted(
        (one["deviations"] for one in fires), reverse=True)
    assert all(one["value"] == pytest.approx(values[one["neuron"]], rel=1e-5) for one in fires)
    made = record["visualized"]["neurons"]
    assert [one["neuron"] for one in made] == [2, 5]
    assert all(one["value"] > one["highest_of_the_images"] for one in made)
    with open(f"{written}/neurons.html") as file:
        page = file.read()
    assert html.escape(record["visualized"]["regulariser"]) in page and '"made":{"2":["data:image/jpeg' in page
    with pytest.raises(UserError, match="cannot read the image"):
        says(run, picture=__file__)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        says(run, picture="nowhere.jpg")
    says(run)


def test_another_source_and_a_broken_picture(run, tmp_path, capsys):
    faces = shutil.copytree(run.workdir[:-len("run")] + "faces", tmp_path / "faces")
    with open(faces / "class0" / "0.jpg", "r+b") as file:
        file.truncate(150)
    says(run, source="image_folder", path=str(faces), out=str(tmp_path / "out"), features=str(tmp_path / "kept"))
    assert "left out: " in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "neurons.json").read_text())["images"] == 17
    assert len([name for name in os.listdir(tmp_path / "kept") if not name.startswith(".")]) == 2


def test_a_page_of_other_images_or_of_another_layer_is_kept(run, written, tmp_path):
    faces = shutil.copytree(run.workdir[:-len("run")] + "faces", tmp_path / "faces")
    (faces / "class0" / "0.jpg").unlink()
    other = {"source": "image_folder", "path": str(faces), "out": written, "features": str(tmp_path / "kept")}
    with pytest.raises(UserError, match="holds the neurons of other images: give another --out, or --overwrite"):
        says(run, **other)
    with pytest.raises(UserError, match="holds the neurons of other images and layer: "):
        says(run, layer="stage2", **other)
    assert not (tmp_path / "kept").exists()
    says(run, layer="stage1", overwrite=True)


@pytest.mark.parametrize("values, line", [
    ({"path": "photos"}, "--path needs --source"),
    ({"source": "photos"}, "unknown source 'photos'"),
    ({"visualize": ["3", "x"], "out": "elsewhere"}, "--visualize takes neurons by their numbers, such as 3,17; got"),
    ({"visualize": ["8"], "out": "elsewhere"}, "layer 'stage1' has no neuron 8; they are 0 to 7"),
    ({"layer": "stage9", "out": "elsewhere"}, "tiny has no layer 'stage9'; it has stem, stage1, stage2, pool, emb"),
])
def test_what_cannot_be_looked_at_is_one_line(run, values, line):
    with pytest.raises(UserError, match=line):
        says(run, **values)
    assert not os.path.exists("elsewhere")
