"""Two pictures, or one and its class, explained to a file."""

import json
import pathlib
import types

import jax
import numpy as np
import PIL.Image
import pytest

import geodesic
from geodesic.errors import UserError
from geodesic.experiments import explain
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.reporting import explained
from geodesic.experiments.trained import box_attribution
from tests.experiments import drawn, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    config = tiny.config(tiny.faces(folder / "faces", 3, 4), loss__name="softmax", total_steps=1)
    return geodesic.train(config, folder / "run")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A detector of one step, that reports whatever it finds."""
    folder, mesh = tmp_path_factory.mktemp("boxed"), meshes.make(jax.devices()[:1])
    config = drawn.config(drawn.data(folder / "drawn"), total_steps=1, detection__smallest_score=0.0,
                          evaluation__evaluators=())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(meshes, "make", lambda devices=None: mesh)
        yield drawn.untrained(folder / "run", config, mesh)


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


@pytest.mark.slow
def test_a_detectors_best_box(detector, tmp_path, capsys):
    picture = str(tmp_path / "photo.png")
    PIL.Image.fromarray(drawn.draw(np.random.default_rng(2))[0]).save(picture)
    found, = detector.detect([picture])
    explains(detector, [picture], out=str(tmp_path / "why.json"))
    record, told = json.loads((tmp_path / "why.json").read_text()), capsys.readouterr().out
    assert record["box"] == pytest.approx(found.boxes[0].tolist(), abs=1e-3) and not record["exact"]
    assert record["score"] == pytest.approx(float(found.scores[0]), abs=1e-6)
    assert record["class"] == detector.class_names[found.classes[0]]
    assert abs(np.sum(record["maps"]) - record["logit"]) == pytest.approx(record["error"])
    corners = " ".join(f"{side:.0f}" for side in found.boxes[0])
    assert told.startswith(f"{record['class']} at {corners}: score {found.scores[0]:.4f}, whose logit ")
    assert f"an approximation whose sum is off by {record['error']:.2g}." in told
    explains(detector, [picture], **{"class": "red", "curves": True})
    page = pathlib.Path(detector.workdir, "explained.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and "photo.png: red, score " in page
    with pytest.raises(UserError, match="is a detector, where two pictures have no cosine: give one"):
        explains(detector, [picture, picture])


@pytest.mark.parametrize("value", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_map_of_nothing_is_not_measured(detector, monkeypatch, tmp_path, capsys, value):
    picture = drawn.draw(np.random.default_rng(2))[0]
    PIL.Image.fromarray(picture).save(tmp_path / "photo.png")
    found = box_attribution.boxed(detector, picture)
    monkeypatch.setattr(box_attribution, "boxed", lambda *_: found._replace(gradient=np.full((2, 2), value)))
    explains(detector, [str(tmp_path / "photo.png")], curves=True, out=str(tmp_path / "why.json"))
    told = capsys.readouterr().out
    assert "our map: deletion" in told and ("Grad-CAM: deletion" in told) == bool(value)


def test_a_box_is_drawn_on_each_picture_of_its_row():
    view, map_ = np.zeros((48, 64, 3), np.uint8), np.ones((12, 16))
    corners = np.float32([4, 8, 20, 40])
    figure = explained.draw([explained.Row("one", view, map_, map_, corners)], [])
    frames = [patch for axis in figure.axes[:3] for patch in axis.patches]
    assert [patch.get_bbox().extents.tolist() for patch in frames] == [[3.5, 7.5, 19.5, 39.5]] * 3
    assert not explained.draw([explained.Row("one", view, map_, map_)], []).axes[0].patches


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
