"""`geodesic duplicates`: copies are found, told, drawn; what cannot be asked is refused."""

import csv
import io
import json
import re
import shutil
import types

import cv2
import numpy as np
import pytest

from benchmarks import edits
from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments import duplicates
from geodesic.experiments.trained import embedding_file
from tests.datasets.overlay_test import scene

GIVEN = dict(workdir="", gallery="", embeddings="", root="", images="", source="", path="", against="", distance=8,
             neighbours=10, agrees=0.88, threads=2, format="", out="", sheet="")


def save(path, image, quality=95):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures; of the first a copy of the file, its pixels in another, its mirror image, and a crop."""
    root = tmp_path_factory.mktemp("same")
    for place in range(6):
        save(root / "a" / f"{place}.jpg", scene(place))
    pixels = datasets.decode({"image": (root / "a" / "0.jpg").read_bytes(), "path": ""})
    (root / "b").mkdir()
    shutil.copy(root / "a" / "0.jpg", root / "b" / "copy.jpg")
    save(root / "b" / "pixels.png", pixels)
    save(root / "b" / "mirrored.jpg", pixels[:, ::-1])
    save(root / "b" / "crop.jpg", edits.make("crop", pixels, np.random.default_rng(0)))
    (root / "b" / "broken.jpg").write_bytes(b"\xff\xd8 broken")
    return root


def do(**values):
    return duplicates.main(None, types.SimpleNamespace(**GIVEN | values))


def names(path):
    return "/".join(path.rsplit("/", 2)[1:])


def test_a_folder_by_hashes_alone(folder, tmp_path, capsys):
    assert do(images=str(folder), format="csv", sheet=str(tmp_path / "s.html")) == 0
    told = capsys.readouterr()
    found = {(names(row["one"]), names(row["other"])): row["kind"] for row in csv.DictReader(io.StringIO(told.out))}
    assert found == {("a/0.jpg", "b/copy.jpg"): "file", ("b/copy.jpg", "b/pixels.png"): "pixels",
                     ("a/0.jpg", "b/mirrored.jpg"): "near"} | {pair: kind for pair, kind in found.items() if "crop" in
                                                              pair[1] + pair[0]}
    assert "skipped: cannot read the image" in told.err
    page = (tmp_path / "s.html").read_text()
    assert page.count('<figure class="found query"') == 1 and page.count('<div class="row">') == 1
    assert "mirrored.jpg edited" in page and "copy.jpg the same file" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "$" not in re.sub(r"data:[^\"]*", "", page)


def test_vectors_name_what_hashes_do_not(folder, tmp_path, capsys):
    paths = [*sorted(map(str, (folder / "a").glob("*.jpg"))), str(folder / "b" / "crop.jpg")]
    rows = np.eye(7, dtype=np.float32)
    rows[6] = (rows[0] + rows[6]) / np.sqrt(2)
    embedding_file.write(str(tmp_path / "v.parquet"), embedding_file.Embeddings(paths, rows, {}, None, str(folder)))
    out = str(tmp_path / "found.json")
    assert do(embeddings=str(tmp_path / "v.parquet"), distance=-1, out=out) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert [[names(path) for path in group] for group in found["groups"]] == [["a/0.jpg", "b/crop.jpg"]]
    pair, = found["pairs"]
    assert pair["kind"] == "near" and pair["agreement"] > 0.95 and pair["cosine"] == pytest.approx(0.7071, abs=1e-4)
    assert "1 pair(s) in" in capsys.readouterr().out


def test_what_is_on_both_sides_makes_the_status_one(folder, tmp_path, capsys):
    assert do(images=str(folder / "a"), against=str(folder / "b")) == 1
    told = capsys.readouterr().out
    assert "the same file: 0 within images, 0 within against, 1 ACROSS" in told
    other = tmp_path / "c"
    save(other / "9.jpg", scene(9))
    assert do(images=str(folder / "a"), against=str(other), sheet=str(tmp_path / "s.png")) == 0
    assert "0 ACROSS" in capsys.readouterr().out and not (tmp_path / "s.png").exists()  # there is nothing to draw


@pytest.mark.parametrize(("given", "line"), [
    ({}, "--images=... is required"), ({"embeddings": "a", "against": "b"}, "--against goes with --images"),
    ({"images": "a", "agrees": 0.0}, "--agrees between 0 and 1"), ({"images": "a", "distance": 40}, r"-1\.\.16"),
    ({"embeddings": "a", "gallery": "b"}, "one of them alone"), ({"images": "a", "sheet": "b.gif"}, "--sheet is a")])
def test_what_cannot_be_is_refused(given, line):
    with pytest.raises(UserError, match=line):
        do(**given)
