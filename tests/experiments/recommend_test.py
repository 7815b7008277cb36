"""`geodesic recommend`, and `recommending`: seeds are found in whatever form, and never recommended."""

import csv
import io
import json
import re
import types

import numpy as np
import PIL.Image
import pytest

from geodesic.errors import UserError
from geodesic.experiments import recommend
from geodesic.experiments.trained import collection, embedding_file, recommending
from tests.experiments import tiny
from tests.experiments.galleries import fake

GIVEN = dict(workdir="", gallery="", embeddings="", root="", images="", source="", path="", like=[], unlike=[], k=10,
             diversity=0.0, format="", out="", sheet="")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    paths = sorted(str(path) for path in tiny.faces(folder / "faces", 3, 4).rglob("*.jpg"))
    rows = np.eye(3)[np.arange(12) // 4] + 0.1 * np.random.default_rng(0).standard_normal((12, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    embedding_file.write(str(folder / "a.parquet"), embedding_file.Embeddings(
        paths, rows, {"checkpoint": "1"}, [path.split("/")[-2] for path in paths], str(folder)))
    return str(folder / "a.parquet"), paths


def do(**values):
    return recommend.main(None, types.SimpleNamespace(**GIVEN | values))


def test_more_like_these_and_unlike_those(embedded, tmp_path, capsys):
    file, paths = embedded
    do(embeddings=file, like=[paths[0]], unlike=[paths[5]], k=4, format="csv")
    rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert {row["path"] for row in rows[:3]} == {*paths[1:4]} and rows[3]["label"] == "class2"  # not of class1
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    do(embeddings=file, like=paths[:2], k=20, out=str(tmp_path / "r.json"), sheet=str(tmp_path / "r.html"))
    found = json.loads((tmp_path / "r.json").read_text())
    assert len(found["recommended"]) == 10 and not {row["id"] for row in found["recommended"]} & {*paths[:2]}
    page = (tmp_path / "r.html").read_text()
    assert page.count('<figure class="found query"') == 2 and page.count('<figure class="found plain"') == 10
    assert "like these" in page and "unlike those" not in page and "1 to 10" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "$" not in re.sub(r"data:[^\"]*", "", page)
    assert f"written to {tmp_path / 'r.json'}" in capsys.readouterr().out
    do(embeddings=file, like=paths[:1], diversity=0.6, k=3, sheet=str(tmp_path / "r.png"))
    told = capsys.readouterr().out
    rows = [line.split("│") for line in told.splitlines() if "│" in line]
    labels = {cells[3] for cells in rows if cells[1].strip()}
    assert "diversity 0.6" in told and len(labels) == 3  # a long path goes on in lines without a rank
    assert PIL.Image.open(tmp_path / "r.png").size[0] > 600


def test_seeds_are_ids_paths_or_pictures(tmp_path):
    folder = fake.folder(tmp_path / "p", {f"{name}.jpg": name for name in ("a1", "a2", "b1")})
    run = fake.Run()
    paths = [str(folder / f"{name}.jpg") for name in ("a1", "a2")]
    rows = np.stack([run.vector(b"a1"), run.vector(b"a2")])
    found = collection.Collection(["one", "two"], paths, ["", ""], rows, run.identity, None)
    run.embed_source = lambda source: fake.Embedded(
        np.stack([3 * run.vector(open(path, "rb").read()) for path in source.paths]), None, [])
    seeds = recommending.seeds(found, ["two", paths[0], str(folder / "b1.jpg")], run)
    assert seeds.places == [1, 0, -1]
    np.testing.assert_allclose(seeds.vectors, [rows[1], rows[0], run.vector(b"b1")], atol=1e-6)
    with pytest.raises(UserError, match=r"b1.jpg is no row of the collection: --workdir=... is required"):
        recommending.seeds(found, [str(folder / "b1.jpg")])
    with pytest.raises(UserError, match="'three' is neither an id nor a picture of here"):
        recommending.seeds(found, ["three"], run, "here")
    with pytest.raises(UserError, match="was made by another model"):
        recommending.seeds(found, [str(folder / "b1.jpg")], fake.Run(seed=1))
    one, = recommending.recommend(found, recommending.seeds(found, ["one"]))
    assert one[:2] == (1, "two") and one.cosine == pytest.approx(float(rows[0] @ rows[1]), abs=1e-6)


@pytest.mark.parametrize(("given", "line"), [
    ({"gallery": "a"}, "what is liked"), ({"like": ["a"]}, "which vectors"),
    ({"gallery": "a", "like": ["a"], "k": 0}, "--k is at least 1"),
    ({"gallery": "a", "like": ["a"], "diversity": 2.0}, "--diversity between 0 and 1"),
    ({"gallery": "a", "like": ["a"], "sheet": "a"}, "--sheet is a .png")])
def test_what_cannot_be_is_refused(given, line):
    with pytest.raises(UserError, match=line):
        do(**given)
