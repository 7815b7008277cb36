"""Embedding files of any source, of pictures with any name, by a model that need not be good; and their search."""

import io
import os
import sys
import types

import jax
import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

from geodesic.embedders import build
from geodesic.experiments import embed, search
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.galleries.gallery import Gallery
from geodesic.experiments.trained import embedding_file
from tests.datasets import images
from tests.experiments import tiny

# Names that a terminal's markup, a figure's mathematics, a pattern or a table may read as something else.
NAMES = ["caf\udce9.png", "cat [old].png", "a :smile: b.png", "Ba$$in.png", "shoe_$20_$30.png",
         "$\\frac$.png", "back\\slash.png", "\u540d.png", "sp ace.png", "a,b.png", "100%.png", "-dash.png", "#1.png"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Imported weights, drawn at random."""
    config = tiny.config()
    variables = jax.device_get(build("tiny", embedding_size=16).init(jax.random.key(0), np.zeros((1, 16, 16, 3))))
    folder = tmp_path_factory.mktemp("weights")
    imported.save(str(folder / "good"), config, variables, {})
    variables["params"]["conv1"]["kernel"] = np.full_like(variables["params"]["conv1"]["kernel"], np.nan)
    imported.save(str(folder / "nan"), config, variables, {})
    return folder


@pytest.fixture
def odd(tmp_path):
    folder = tmp_path / "[photos] $1$"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        (folder / name).write_bytes(images.encoded(images.pixels(seed), "PNG"))
    return folder


def run_embed(workdir, out, **values):
    embed.main(tiny.config(), types.SimpleNamespace(**{
        "workdir": str(workdir), "images": "", "source": "", "path": "", "root": "", "labels": True, "out": str(out),
        "overwrite": False, "gallery": "",
        **{name: value if name == "labels" else str(value) for name, value in values.items()}}))
    return embedding_file.read(str(out)) if out else None


def run_search(workdir, embeddings, query, out, **values):
    search.main(tiny.config(), types.SimpleNamespace(**{
        "workdir": str(workdir), "embeddings": str(embeddings), "query": str(query), "out": str(out), "k": 20,
        "far": 0.0, "root": "", **values}))


@pytest.mark.parametrize("extension", ["parquet", "npz"])
def test_names_of_any_kind_are_embedded_stored_printed_and_drawn(weights, odd, tmp_path, monkeypatch, extension):
    out = tmp_path / f"e.{extension}"
    content = run_embed(weights / "good", out, images=odd)
    assert content.paths == [f"{odd}/{name}" for name in sorted(NAMES)] and content.labels is None
    assert np.isfinite(content.embeddings).all()
    (odd / "[").mkdir()
    (odd / "[" / "bold]x.png").write_bytes(images.encoded(images.pixels(99), "PNG"))
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="geodesic")  # as `runtime` sets it for programs
    monkeypatch.setattr(sys, "stdout", printed)
    run_search(weights / "good", out, odd / "[" / "bold]x.png", tmp_path / "found.png")
    printed.flush()
    for name in [*NAMES, "[/bold]x.png"]:
        assert b" " + os.fsencode(name) + b" " in printed.buffer.getvalue(), name
    assert b"any more" not in printed.buffer.getvalue()
    assert PIL.Image.open(tmp_path / "found.png").size[0] > 1000


def test_pictures_that_moved_with_their_embeddings_are_found_and_others_by_their_root(weights, tmp_path, capsys):
    tiny.faces(tmp_path / "one" / "photos", 2, 2)
    content = run_embed(weights / "good", tmp_path / "one" / "e.parquet", images=tmp_path / "one" / "photos")
    assert content.labels == ["class0", "class0", "class1", "class1"]
    (tmp_path / "one").rename(tmp_path / "two")
    moved = tmp_path / "two" / "photos"
    arguments = weights / "good", tmp_path / "two" / "e.parquet", moved / "class0" / "0.jpg", tmp_path / "f.png"
    run_search(*arguments)
    printed = capsys.readouterr().out
    assert "class0/1.jpg" in printed and "class0/0.jpg │ 2" not in printed and "any more" not in printed
    moved.rename(tmp_path / "elsewhere")
    run_search(*arguments[:2], tmp_path / "elsewhere" / "class0" / "0.jpg", arguments[3])  # all four are found now
    assert f"4 of the 4 pictures that were found are not below {moved} any more" in capsys.readouterr().out
    run_search(*arguments[:2], tmp_path / "elsewhere" / "class0" / "0.jpg", arguments[3],
               root=str(tmp_path / "elsewhere"))
    assert "any more" not in capsys.readouterr().out


def test_a_manifest_keeps_its_labels_and_any_source_is_embedded(weights, tmp_path):
    folder = tiny.faces(tmp_path / "faces", 2, 2)
    table = tmp_path / "people.csv"
    table.write_text("path,label,split\nfaces/class0/0.jpg,Jos\u00e9,a\nfaces/class1/1.jpg,Ana,a\n"
                     "faces/class1/0.jpg,Ana,b\n")
    content = run_embed(weights / "good", tmp_path / "m.parquet", source="manifest", path=f"{table}#a")
    assert content.paths == [str(folder / "class0" / "0.jpg"), str(folder / "class1" / "1.jpg")]
    assert content.labels == ["Jos\u00e9", "Ana"] and content.root == str(folder)
    stored = pq.read_table(tmp_path / "m.parquet")
    assert stored["path"].to_pylist() == ["class0/0.jpg", "class1/1.jpg"]
    assert stored["label"].to_pylist() == ["Jos\u00e9", "Ana"]
    content = run_embed(weights / "good", tmp_path / "r.parquet", source="manifest", path=f"{table}#a", root=tmp_path,
                        labels=False)
    assert content.labels is None and content.root == str(tmp_path)
    with pytest.raises(ValueError, match=r"0\.jpg does not lie below the root"):
        run_embed(weights / "good", tmp_path / "x.npz", source="manifest", path=f"{table}#a", root=folder / "class1")
    np.savez(tmp_path / "a.npz", images=np.stack([images.pixels(seed) for seed in range(3)]), labels=[0, 1, 1])
    content = run_embed(weights / "good", tmp_path / "n.npz", source="npz", path=tmp_path / "a.npz")
    assert len(content.paths) == 3 and content.root == ""
    with pytest.raises(ValueError, match="are no files"):
        run_embed(weights / "good", tmp_path / "x.npz", source="npz", path=tmp_path / "a.npz", root=tmp_path)
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("values", [{}, {"images": "a", "source": "manifest"}, {"path": "a"}])
def test_one_source_is_asked_for(weights, tmp_path, values):
    with pytest.raises(ValueError, match=r"is required|needs --source"):
        run_embed(weights / "good", tmp_path / "x.npz", **values)


def test_a_gallery_in_place_of_a_file(weights, tmp_path, capsys):
    faces, place = tiny.faces(tmp_path / "faces", 2, 3), tmp_path / "people"
    (faces / "class0" / "odd.jpg").write_bytes(b"no picture")
    run_embed(weights / "good", "", images=faces, gallery=place)
    told = capsys.readouterr().out
    assert "skipped: cannot read the image" in told and f"6 added; 6 row(s) in {place}" in told
    run_embed(weights / "good", "", source="image_folder", path=faces, gallery=place)
    assert "0 added, 6 as they were; 6 row(s)" in capsys.readouterr().out
    kept, content = Gallery(place).held(), run_embed(weights / "good", tmp_path / "e.npz", images=faces)
    np.testing.assert_allclose(kept.vectors([kept.places[str(faces / path)] for path in content.paths]),
                               content.embeddings, atol=1e-6)
    for out, values in (("", {}), (tmp_path / "x.npz", {"gallery": place})):
        with pytest.raises(ValueError, match=r"--out=.* is required, or --gallery=.*, and not both"):
            run_embed(weights / "good", out, images=faces, **values)
    with pytest.raises(ValueError, match=r"--images=.* is required"):
        run_embed(weights / "good", "", gallery=place)
    assert not (tmp_path / "x.npz").exists()


def test_no_row_that_is_not_finite_is_written(weights, tmp_path, capsys, monkeypatch):
    folder = tiny.faces(tmp_path / "faces", 1, 3)
    with pytest.raises(ValueError, match=r"none of the 3 images of .* has a finite embedding"):
        run_embed(weights / "nan", tmp_path / "e.parquet", images=folder)
    assert not (tmp_path / "e.parquet").exists()
    whole = run_embed(weights / "good", tmp_path / "whole.parquet", images=folder)
    capsys.readouterr()

    def spoil(run, source, advance, embed_source=embed.loading.Run.embed_source):
        embedded = embed_source(run, source, advance)
        embedded.embeddings[1] = [np.nan] + 15 * [1]
        embedded.embeddings[2] = np.inf
        return embedded

    monkeypatch.setattr(embed.loading.Run, "embed_source", spoil)
    content = run_embed(weights / "good", tmp_path / "e.parquet", images=folder)
    assert content.paths == whole.paths[:1]
    np.testing.assert_array_equal(content.embeddings, whole.embeddings[:1])
    printed = capsys.readouterr().out
    for name in ("1.jpg", "2.jpg"):
        assert f"skipped: {os.path.join(folder, 'class0', name)}: its embedding is not finite" in printed
    assert "2 image(s) skipped" in printed
