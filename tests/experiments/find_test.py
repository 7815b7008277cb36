"""Boxes of a detector, looked up among vectors: the very same crops are known, others are not."""

import json
import types

import jax
import numpy as np
import PIL.Image
import pytest

import geodesic
from geodesic.errors import UserError
from geodesic.experiments import find
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import embedding_file
from tests.experiments import drawn, tiny


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(detector, embedder, folder of two pictures, file of the vectors of the first one's boxes)."""
    folder = tmp_path_factory.mktemp("find")
    mesh = meshes.make(jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(meshes, "make", lambda devices=None: mesh)
        config = drawn.config(drawn.data(folder / "drawn"), total_steps=1, detection__smallest_score=0.0,
                              detection__kept=3)
        detector = drawn.untrained(folder / "detector", config, mesh)
        config = tiny.config(tiny.faces(folder / "faces", 3, 4), total_steps=1)
        embedder = geodesic.train(config, folder / "embedder")
        (folder / "photos").mkdir()
        for place in range(2):
            picture, _ = drawn.draw(np.random.default_rng(place + 20))
            PIL.Image.fromarray(255 - picture if place else picture).save(folder / "photos" / f"{place}.png")
        pixels = np.asarray(PIL.Image.open(folder / "photos" / "0.png"))
        (found,) = detector.detect(pixels)
        vectors = embedder.embed([find.cut(pixels, box) for box in found.boxes])
        names = [f"thing {place}" for place in range(len(vectors))]
        embedding_file.write(str(folder / "known.npz"), embedding_file.Embeddings(names, vectors, embedder.identity,
                                                                                  names))
        yield detector, embedder, str(folder / "photos"), str(folder / "known.npz")


def found(runs, **values):
    detector, embedder, photos, known = runs
    given = dict(workdir=detector.workdir, embedder=embedder.workdir, embeddings=known, images=photos, threshold=0.0,
                 margin=0.0, far=0.0, cosine=0.99999, out="", sheet="")
    return find.main(detector.config, types.SimpleNamespace(**given | values))


def test_the_same_crops_are_known_and_others_are_not(runs, tmp_path, capsys):
    assert found(runs, cosine=-1.0, out=str(tmp_path / "all.json")) == 0
    cosines = sorted(row["cosine"] for row in json.loads((tmp_path / "all.json").read_text()))
    limit = (cosines[2] + cosines[3]) / 2
    assert cosines[2] < limit < cosines[3]
    assert found(runs, cosine=limit, out=str(tmp_path / "found.json"), sheet=str(tmp_path / "sheet.html")) == 0
    rows = json.loads((tmp_path / "found.json").read_text())
    first, second = ([row for row in rows if row["path"].endswith(f"{place}.png")] for place in (0, 1))
    known = ("thing 0", "thing 1", "thing 2")  # some of which may be the same crop, of two classes
    assert len(first) == 3 and all(row["name"] == row["nearest"] in known and row["cosine"] > 0.9999 for row in first)
    assert len(second) == 3 and all(row["name"] == "unknown" and row["nearest"] in known for row in second)
    assert "6 boxes in 2 picture(s), 3 known (cosine at least" in capsys.readouterr().out
    assert (tmp_path / "sheet.html").read_text().count("<figure class=") == 2


def test_a_table_and_csv(runs, tmp_path, capsys):
    assert found(runs, cosine=-1.0) == 0
    assert capsys.readouterr().out.count("thing") == 6
    assert found(runs, out=str(tmp_path / "found.csv")) == 0
    assert (tmp_path / "found.csv").read_text().count("\n") == 7


def test_what_cannot_be_is_one_line(runs, tmp_path):
    detector, embedder, _, _ = runs
    for given, message in (({"cosine": -2.0}, "has no threshold: set one with `geodesic calibrate"),
                           ({"out": "found.txt"}, "--out is a .json or a .csv file"),
                           ({"margin": 2.0}, "--margin is a share between 0 and 1"),
                           ({"cosine": 1.5}, "--cosine is between -1 and 1; got 1.5"),
                           ({"workdir": embedder.workdir}, "is no detector"),
                           ({"embedder": detector.workdir}, "another model|is a detector")):
        with pytest.raises(UserError, match=message):
            if "workdir" in given:
                find.main(embedder.config, types.SimpleNamespace(
                    workdir=embedder.workdir, embedder=embedder.workdir, embeddings=runs[3], images=runs[2],
                    threshold=0.0, margin=0.0, far=0.0, cosine=0.5, out="", sheet=""))
            else:
                found(runs, **given)


def test_a_box_is_cut_out_within_its_picture():
    pixels = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3)
    np.testing.assert_array_equal(find.cut(pixels, np.array([10.2, 5, 19.8, 9])), pixels[5:9, 10:20])
    assert find.cut(pixels, np.array([50.0, 30, 60, 40]), margin=0.5).shape == (15, 15, 3)  # beyond the corner
    assert find.cut(pixels, np.array([59.9, 39.9, 60, 40])).shape == (1, 1, 3)
