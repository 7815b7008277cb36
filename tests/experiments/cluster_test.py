"""`geodesic cluster`: what is printed, written and refused."""

import csv
import io
import json
import os
import re
import types

import numpy as np
import PIL.Image
import pytest

from geodesic.errors import UserError
from geodesic.experiments import cluster
from geodesic.experiments.trained import embedding_file, thresholds
from tests.experiments import tiny

GIVEN = dict(workdir="", gallery="", embeddings="", root="", images="", source="", path="", method="neighbours",
             threshold=None, far=0.0, groups=0, smallest=2, neighbours=10, probes=-1, resolution=1.0, seed=0, links="",
             format="", out="", sheet="")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """Four pictures of each of three classes; of the last class one picture looks like the first class."""
    folder = tmp_path_factory.mktemp("grouped")
    faces = tiny.faces(folder / "faces", 3, 4)
    paths = sorted(str(path) for path in faces.rglob("*.jpg"))
    rows = np.eye(3)[[0] * 4 + [1] * 4 + [2] * 3 + [0]] + 0.05 * np.random.default_rng(0).standard_normal((12, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    labels = [os.path.basename(os.path.dirname(path)) for path in paths]
    embedding_file.write(str(folder / "a.parquet"), embedding_file.Embeddings(
        paths, rows, {"checkpoint": "1"}, labels, str(faces)))
    return str(folder / "a.parquet"), paths


def do(**values):
    return cluster.main(None, types.SimpleNamespace(**GIVEN | values))


def test_groups_of_a_file(embedded, tmp_path, capsys):
    path, paths = embedded
    do(embeddings=path, threshold=0.8, sheet=str(tmp_path / "g.html"), links=str(tmp_path / "links"))
    told = capsys.readouterr().out
    assert "12 pictures in 3 groups, 0 left alone" in told and "a cosine of 0.8000 at least" in told
    assert "class0 (80%)" in told and "threshold: as given" in told
    assert re.search(r"B-cubed F: 0\.8\d\d \[0\.\d+, \d\.\d+\]", told) and "share left alone: 0 [0, 0]" in told
    page = (tmp_path / "g.html").read_text()
    assert page.count('<figure class="found hit"') == 11 and page.count('<figure class="found miss"') == 1
    assert page.count('<div class="row">') == 3 and "group 0" in page and "5 pictures, class0 (80%)" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "$" not in re.sub(r"data:[^\"]*", "", page)
    links = sorted((tmp_path / "links").rglob("*.jpg"))
    assert {os.path.realpath(link) for link in links} == {os.path.realpath(path) for path in paths}
    names = sorted(link.name for link in links if link.parent.name == "group_0")
    assert names == ["0.jpg", "0003_3.jpg", "0004_3.jpg", "1.jpg", "2.jpg"]  # two are called 3.jpg
    with pytest.raises(UserError, match="links is there: give another --links"):
        do(embeddings=path, threshold=0.8, links=str(tmp_path / "links"))


def test_csv_json_and_pictures_left_alone(embedded, tmp_path, capsys):
    path, paths = embedded
    do(embeddings=path, threshold=0.8, smallest=4, format="csv")
    rows = [*csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert [row["path"] for row in rows] == paths
    assert [row["group"] for row in rows] == ["0"] * 4 + ["1"] * 4 + [""] * 3 + ["0"]
    do(embeddings=path, threshold=0.8, smallest=4, out=str(tmp_path / "g.json"), sheet=str(tmp_path / "g.png"))
    assert f"12 pictures in 2 groups, 3 left alone: {tmp_path / 'g.json'}" in capsys.readouterr().out
    found = json.loads((tmp_path / "g.json").read_text())
    assert [group["ids"] for group in found["groups"]] == [[*paths[:4], paths[11]], paths[4:8]]
    assert found["alone"] == paths[8:11] and found["scores"]["alone"]["estimate"] == 0.25
    assert PIL.Image.open(tmp_path / "g.png").size[0] > 600


@pytest.mark.parametrize(("method", "more"), [
    ("kmeans", {"groups": 3}), ("hdbscan", {"smallest": 3}), ("leiden", {"threshold": 0.8})])
def test_every_method_finds_what_is_plain(embedded, capsys, method, more):
    if method == "leiden":
        pytest.importorskip("leidenalg")
    do(embeddings=embedded[0], method=method, format="json", **more)
    found = json.loads(capsys.readouterr().out)
    assert sorted(group["size"] for group in found["groups"]) == [3, 4, 5] and not found["alone"]


def test_the_calibrated_threshold_counts_and_says_what_is_false(embedded, tmp_path, capsys):
    thresholds.save(str(tmp_path), {"checkpoint": "1"}, thresholds.Calibration(
        1e-2, 0.75, (0.7, 0.8), 0.0095, (0.0, 0.02), 0.9, (0.8, 1.0), 20, 90, 900, 100), {})
    do(embeddings=embedded[0], workdir=str(tmp_path))
    told = capsys.readouterr().out
    assert "a cosine of 0.7500 at least" in told and "calibrated on 20 identities for FAR 0.01" in told
    assert "a false accept rate of 0.01 is 0.7 of the 66 pairs" in told


@pytest.mark.parametrize(("given", "line"), [
    ({}, "which vectors"), ({"gallery": "a", "embeddings": "b"}, "got --gallery and --embeddings"),
    ({"images": "a"}, "--workdir=... is required"), ({"gallery": "a", "root": "b"}, "--root is of the pictures of"),
    ({"embeddings": "a", "method": "kmeans"}, "--groups=N"), ({"embeddings": "a", "smallest": 1}, "two pictures or"),
    ({"embeddings": "a", "neighbours": -1}, "a picture neighbours; got --smallest=2, --neighbours=-1"),
    ({"embeddings": "a", "sheet": "a.jpg"}, "--sheet is a .png or a .html file"),
    ({"embeddings": "a", "links": "/"}, "/ is there")])
def test_what_cannot_be_is_refused_before_anything_is_read(given, line):
    with pytest.raises(UserError, match=line):
        do(**given)


def test_without_a_threshold_and_without_leiden(embedded, monkeypatch):
    with pytest.raises(UserError, match="links pictures whose cosine reaches"):  # before anything is read
        do(images="nowhere", workdir="nowhere")
    with pytest.raises(UserError, match="links pictures whose cosine reaches a threshold, and there is none"):
        do(embeddings=embedded[0])
    monkeypatch.setattr(cluster.grouping.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"leiden needs leidenalg, which is not installed: pip install 'geodesic\[leid"):
        do(embeddings=embedded[0], method="leiden", threshold=0.5)
