"""Two pictures, or one and its class, explained to a file."""

import json
import pathlib
import types

import numpy as np
import PIL.Image
import pytest

import geodesic
from geodesic.errors import UserError
from geodesic.experiments import explain
from geodesic.experiments.reporting import explained
from tests.experiments import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    config = tiny.config(tiny.faces(folder / "faces", 3, 4), loss__name="softmax", total_steps=1)
    return geodesic.train(config, folder / "run")


@pytest.fixture(scope="module")
def faces(run):
    return [f"{run.workdir[:-len('run')]}faces/class{label}/0.jpg" for label in range(3)]


def explains(run, images, **values):
    given = {"workdir": run.workdir, "class": "", "out": "", "curves": False} | values
    explain.main(run.config, types.SimpleNamespace(**given), images)


def test_a_pairs_record_has_what_was_printed(run, faces, tmp_path, capsys):
    explains(run, faces[:2], out=str(tmp_path / "why.json"))
    record = json.loads((tmp_path / "why.json").read_text())
    cosine = run.cosine(*faces[:2])
    assert record["exact"] and record["cosine"] == pytest.approx(cosine, abs=1e-6)
    assert [np.sum(map_) for map_ in record["maps"]] == pytest.approx([cosine] * 2, abs=1e-6)
    unit = run.embed(faces[:2])
    strongest = int(abs(unit[0] * unit[1]).argmax())
    assert record["channels"][0]["channel"] == strongest and record["curves"] is None
    told = capsys.readouterr().out
    assert told.startswith(f"cosine {cosine:.4f} (no threshold is calibrated); what its places add is exact, and ")
    assert f"  number {strongest} adds" in told


def test_a_class_and_its_curves(run, faces, tmp_path, capsys):
    explains(run, faces[:1], **{"class": "class2", "curves": True, "out": str(tmp_path / "why.json")})
    record = json.loads((tmp_path / "why.json").read_text())
    assert record["class"] == "class2"
    assert np.sum(record["maps"]) == pytest.approx(record["score"], abs=2e-6)
    sure = run.classify(faces[0])[0, 2]
    for one in record["curves"]:
        assert one["deletion"][0] == pytest.approx(sure, abs=1e-5) == one["insertion"][-1]
    assert "Grad-CAM: deletion" in capsys.readouterr().out


def test_the_page_and_the_picture(run, faces, tmp_path):
    explains(run, faces[:2], curves=True, out=str(tmp_path / "why.png"))
    with PIL.Image.open(tmp_path / "why.png") as picture:
        assert picture.width > 1000
    explains(run, faces[:2])
    page = pathlib.Path(run.workdir, "explained.html").read_text()
    assert page.count("data:image/png;base64,") == 1 and "Numbers of the embedding that add most" in page


def test_places_are_joined_once():
    links = np.random.default_rng(0).random((3, 4, 2, 5))
    found = explained.strongest_links(links)
    assert len({link[:2] for link in found}) == len({link[2:4] for link in found}) == len(found) == 6
    added = [link[4] for link in found]
    assert added[0] == links.max() and added == sorted(added, reverse=True)
    assert all(links[link[:4]] == link[4] for link in found)
    assert len(explained.strongest_links(links[:1, :2])) == 2


@pytest.mark.parametrize("count, values, line", [
    (3, {}, "explain takes one picture or two; got 3"),
    (2, {"class": "class0"}, "--class is of one picture; of two, their cosine is explained"),
    (2, {"out": "why.gif"}, "--out is one of .html, .png, .json; got 'why.gif'"),
    (1, {"class": "wren"}, "no class 'wren'; the 3 classes are class0, class1, class2"),
])
def test_what_cannot_be_explained_is_one_line(run, faces, count, values, line):
    with pytest.raises(UserError, match=line):
        explains(run, faces[:count], **values)
