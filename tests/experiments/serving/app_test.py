"""What a server answers: the very bits of the command, what is added and removed, and a line for whatever is wrong."""

import concurrent.futures
import io
import json
import os
import pathlib
import re
import struct
import urllib.parse
import zlib

import numpy as np
import PIL.Image
import pytest

from geodesic.experiments.serving import app
from geodesic.metrics import retrieval
from tests.datasets import images
from tests.experiments import tiny
from tests.experiments.serving import served

TOKEN = {"Authorization": "Bearer secret"}


@pytest.fixture(scope="module")
def queries():
    """Pictures that are no rows, of several sizes."""
    return [images.encoded(images.pixels(100 + seed, 20 + seed, 30)) for seed in range(12)]


@pytest.fixture
def place(run, tmp_path):
    tiny.faces(tmp_path / "faces", 4, 3)
    run.gallery(tmp_path / "people").create().add(tmp_path / "faces")
    return tmp_path / "people"


@pytest.fixture(scope="module")
def kept(run, tmp_path_factory):
    """(a server that nobody writes to, its gallery)."""
    folder = tmp_path_factory.mktemp("kept")
    tiny.faces(folder / "faces", 4, 3)
    run.gallery(folder / "people").create().add(folder / "faces")
    with served.client(run, str(folder / "people"), token="secret") as client:
        yield client, run.gallery(folder / "people")


def quoted(**words) -> str:
    return urllib.parse.urlencode(words)


def test_answers_are_those_of_the_gallery_whatever_else_is_asked(kept, queries):
    """Bit for bit, with many clients at once: a batch has one shape, and no picture minds the others in it."""
    client, gallery = kept
    expected = [[hit._asdict() for hit in gallery.search(query, k=5, threshold=0.9)[0].hits] for query in queries]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        for found in (pool.map(lambda query: client.send("/search", picture=query, k=5).json, queries * 3)):
            one = found["hits"]
            wanted = expected[[hits[0]["cosine"] for hits in expected].index(one[0]["cosine"])]
            assert one == [{"rank": rank, **hit} for rank, hit in enumerate(wanted, start=1)]
            assert found["answer"] in (wanted[0]["label"], "unknown") and found["threshold"] == 0.9
    told = client.get("/metrics").content.decode()
    together = int(re.search(r"geodesic_batch_pictures_sum (\d+)", told)[1])
    batches = int(re.search(r"geodesic_batch_pictures_count (\d+)", told)[1])
    assert together == 36 and batches < 36  # eight fake devices take eight pictures


def test_by_a_label_and_of_one_label(kept, run, queries):
    client, gallery = kept
    everything = client.send("/search", picture=queries[0], k=12).json["hits"]
    found = client.send("/search", picture=queries[0], k=2, only="class2").json["hits"]
    assert found == [hit | {"rank": rank} for rank, hit in enumerate(
        [hit for hit in everything if hit["label"] == "class2"][:2], start=1)]
    mean = np.mean([gallery.held().vectors([place])[0] for name, place in gallery.held().places.items()
                    if "class1" in name], axis=0)
    found = client.get("/search?" + quoted(text="class1", k=3)).json
    assert found["labels"] == ["class1"]
    assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in gallery.find(mean[None], [""], 3)[0].hits]
    assert client.get("/search?" + quoted(text="CLASS")).json["labels"] == [f"class{place}" for place in range(4)]
    assert client.get("/labels").json == {"labels": {f"class{place}": 3 for place in range(4)}}
    for path in ("/search?text=nobody", "/search?id=x", "/search?" + quoted(text="class1", only="y")):
        answer = client.get(path)
        assert answer.status == 404 and answer.error.startswith("no row has ")


def test_by_a_row_which_does_not_find_itself(kept):
    client, gallery = kept
    own = gallery.rows()[4]["id"]
    found = client.get("/search?" + quoted(id=own, k=11)).json
    assert len(found["hits"]) == 11 and own not in [hit["id"] for hit in found["hits"]] and found["id"] == own
    vector = gallery.held().vectors([gallery.held().places[own]])
    assert [hit["cosine"] for hit in found["hits"]] == [
        hit.cosine for hit in gallery.find(vector, [""], 12)[0].hits if hit.id != own]
    inside = client.get("/search?" + quoted(id=own, only=found["label"])).json["hits"]
    assert inside == [hit | {"rank": rank} for rank, hit in enumerate(
        [hit for hit in found["hits"] if hit["label"] == found["label"]], start=1)]


def test_embeddings_and_pairs(kept, run, queries):
    client, gallery = kept
    expected = retrieval.normalized(run.embed_queries(run.source(queries[:2])).embeddings)
    for query, row in zip(queries, expected, strict=False):
        found = client.send("/embed", picture=query).json
        np.testing.assert_array_equal(np.array(found["embedding"], np.float32), row)
        assert found["model"] == run.digest
    found = client.send("/same", picture=queries[0], other=queries[1]).json
    cosine = float(expected[0] @ expected[1])
    assert found == {"cosine": cosine, "threshold": 0.9, "same": cosine >= 0.9}
    row = gallery.rows()[0]["id"]
    assert client.send("/same", picture=pathlib.Path(row).read_bytes(), other_id=row).json["same"] is True
    answer = client.send("/explain", picture=queries[0], other_id=row)
    assert PIL.Image.open(io.BytesIO(answer.content)).size == (588, 288)
    assert float(answer.headers["geodesic-cosine"]) == pytest.approx(
        client.send("/same", picture=queries[0], other_id=row).json["cosine"], abs=1e-5)


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


def of(kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(images.pixels(7)).save(buffer, kind, **options)
    return buffer.getvalue()


BAD = {
    "empty": (b"", 422, "the picture is empty"),
    "text": (b"hello, hello, hello", 422, "cannot be read: its 19 bytes are of no picture (first bytes 68 65 6c 6c"),
    "truncated JPEG": (of("JPEG")[:-40], 422, "cannot read the picture"),
    "truncated PNG": (of("PNG")[:-60], 422, "cannot read the picture"),
    "bomb": (bomb(30000, 30000), 413, "the picture has too many pixels: expected 1,000,000 at most"),
    "large": (bomb(1001, 1000), 413, "has 1001 x 1000 pixels: expected 1,000,000 at most"),
    "PDF": (of("PDF"), 422, "are of no picture"),
    "another format": (of("TGA"), 415, "is of the format TGA: expected one of JPEG, "),
    "scans": (of("JPEG") + b"\xff\xda" * 101, 422, "is a JPEG of more than 100 scans"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_one_line(kept, name):
    content, status, line = BAD[name]
    answer = kept[0].send("/search", picture=content)
    assert answer.status == status and line in answer.error


def test_what_a_picture_is_called_is_of_no_matter(kept, queries):
    """Its bytes say what it is: a GIF that moves has its first frame, as everywhere."""
    frames = [PIL.Image.fromarray(images.pixels(seed)) for seed in (1, 2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert kept[0].send("/search", picture=buffer.getvalue()).status == 200
    assert kept[0].send("/embed", picture=of("WEBP")).status == 200


def test_a_bad_request_is_one_line(kept, queries):
    client, _ = kept
    for answer, status, line in (
            (client.send("/search", wrong=queries[0]), 422, "the field picture is missing, or the request ends too"),
            (client.send("/search", picture="text"), 422, "picture: "),
            (client.send("/search", picture=queries[0], k=0), 422, "k: Input should be greater than or equal to 1"),
            (client.send("/search", picture=queries[0], k="many"), 422, "k: Input should be a valid integer"),
            (client.send("/search", picture=queries[0], only="a\0b"), 422, "only is a line of text"),
            (client.ask("POST", "/search", b"x" * 50, Content_Type="image/jpeg"), 422, "the field picture is missing"),
            (client.ask("POST", "/search", b"x", Content_Type="multipart/form-data"), 400, "Missing boundary"),
            (client.ask("POST", "/search", served.form({"picture": queries[0]})[:-90], Content_Type=(
                f"multipart/form-data; boundary={served.LINE}")), 422, "the request ends too early"),
            (client.get("/search"), 422, "GET /search takes id=... or text=..."),
            (client.get("/nothing"), 404, "Not Found"),
            (client.ask("PUT", "/search"), 405, "Method Not Allowed"),
            (client.send("/same", picture=queries[0]), 422, "the field other or other_id is missing"),
            (client.ask("POST", "/marks", b"{", **TOKEN), 422, ""),
    ):
        assert answer.status == status and line in answer.error


def test_adding_and_removing(run, place, queries):
    with served.client(run, str(place), token="secret") as client:
        assert client.send("/rows", picture=queries[0]).error.startswith("this writes, and takes the server's token")
        for token in ("Bearer other", "secret", "Bearer secret2"):
            assert client.send("/rows", {"Authorization": token}, picture=queries[0]).status == 401
        added = client.send("/rows", TOKEN, picture=queries[0], label="new: ünï")
        assert added.status == 201 and added.json["done"] == "added"
        name = added.json["id"]
        assert os.path.dirname(name) == str(place / "added") and pathlib.Path(name).read_bytes() == queries[0]
        assert client.send("/rows", TOKEN, picture=queries[0], label="new: ünï").json["done"] == "unchanged"
        first = client.send("/search", picture=queries[0], k=1).json
        assert first["hits"][0]["id"] == name and first["answer"] == "new: ünï"
        assert client.get("/health").json["rows"] == 13
        own = client.send("/rows", TOKEN, picture=queries[1], id="one/../two").json
        assert own["id"] == "one/../two"
        assert client.send("/search", picture=queries[1], k=1).json["hits"][0]["id"] == own["id"]
        assert client.send("/rows", TOKEN, picture=queries[2], id="one/../two").json["done"] == "changed"
        assert client.send("/rows", TOKEN, picture=b"no picture").status == 422
        assert sorted(os.listdir(place)) == [".lock", "added", "rows.lance"]
        for path in (str(place.parent / "faces"), "/", "", os.path.dirname(name)):  # a folder's rows never go at once
            assert client.ask("DELETE", "/rows?" + quoted(id=path), **TOKEN).status in (404, 422)
        assert client.ask("DELETE", "/rows?" + quoted(id=name)).status == 401
        assert client.ask("DELETE", "/rows?" + quoted(id=name), **TOKEN).json == {"removed": name}
        assert not os.path.exists(name) and client.get("/health").json["rows"] == 13
        row = str(place.parent / "faces" / "class0" / "0.jpg")  # of the owner's, whose file stays
        assert client.ask("DELETE", "/rows?" + quoted(id=row), **TOKEN).status == 200 and os.path.exists(row)
    assert len(run.gallery(place)) == 12 and not run.gallery(place).check().problems


def test_marks_are_lines_of_json(run, place, queries):
    with served.client(run, str(place)) as client:
        digest = client.send("/search", picture=queries[0]).json["digest"]
        other = run.gallery(place).rows()[0]["id"]
        for one, same in ((digest, True), (other, False)):
            body = json.dumps({"one": one, "other": other, "same": same}).encode()
            assert client.ask("POST", "/marks", body, Content_Type="application/json").status == 201
        body = json.dumps({"one": digest, "other": "nobody", "same": True}).encode()
        assert client.ask("POST", "/marks", body, Content_Type="application/json").status == 404
    marks = [json.loads(line) for line in (place / "marks.jsonl").read_text().splitlines()]
    assert [(mark["one"], mark["other"], mark["same"], mark["model"]) for mark in marks] == [
        (digest, other, True, run.digest), (other, other, False, run.digest)]


def test_pictures_are_those_of_rows_and_no_others(run, place, tmp_path):
    faces = tmp_path / "faces"
    secret = images.encoded(images.pixels(55))
    (tmp_path / "secret.jpg").write_bytes(secret)
    with served.client(run, str(place), folders=[os.path.realpath(faces / "class0")]) as limited, \
            served.client(run, str(place)) as client:
        row = lambda name: "/pictures?" + quoted(id=str(faces / name), side=16)
        assert PIL.Image.open(io.BytesIO(client.get(row("class1/0.jpg")).content)).size == (13, 16)
        assert limited.get(row("class0/0.jpg")).status == 200
        assert limited.get(row("class1/0.jpg")).error.startswith("the row's picture lies in none of the folders")
        for name in ("class0/../../secret.jpg", "../secret.jpg", "class0", "", "class0/0.jpg\0"):
            assert client.get(row(name)).status == 404
        for name in ("/etc/passwd", "../../etc/passwd", "%2e%2e/secret.jpg"):
            assert client.get("/pictures?" + quoted(id=name)).status == 404 and client.get(f"/{name}").status == 404
        (faces / "class1" / "0.jpg").unlink()
        (faces / "class1" / "0.jpg").symlink_to(tmp_path / "secret.jpg")
        assert client.get(row("class1/0.jpg")).error == "the row's picture has changed since it was added"
        (faces / "class2" / "0.jpg").unlink()
        os.mkfifo(faces / "class2" / "0.jpg")
        assert client.get(row("class2/0.jpg")).error == "the row's picture has gone"
        (tmp_path / "moved").mkdir()
        os.rename(faces / "class0" / "1.jpg", tmp_path / "moved" / "1.jpg")
        (faces / "class0" / "1.jpg").symlink_to(tmp_path / "moved" / "1.jpg")
        assert limited.get(row("class0/1.jpg")).status == 404 and client.get(row("class0/1.jpg")).status == 200


def test_the_gallery_may_change_under_the_server(run, place, tmp_path, queries):
    with served.client(run, str(place)) as client:
        run.gallery(place).remove(str(tmp_path / "faces" / "class3"))
        assert len(client.send("/search", picture=queries[0], k=50).json["hits"]) == 9
        run.gallery(place).remove(str(tmp_path / "faces"))
        answer = client.send("/search", picture=queries[0])
        assert answer.status == 409 and "has no rows" in answer.error
        run.gallery(place).add(tmp_path / "faces")
        assert client.send("/search", picture=queries[0]).status == 200
        served.untrained(tmp_path / "other", seed=1).gallery(place).migrate()
        answer = client.send("/search", picture=queries[0])
        assert answer.status == 409 and "was made by another model: the weights' digest" in answer.error


@pytest.mark.slow
def test_a_gallery_in_a_database(run, database, tmp_path, queries):
    address = f"{database}#served"
    run.gallery(address).create().add(tiny.faces(tmp_path / "faces", 2, 3))
    expected = [hit.cosine for hit in run.gallery(address).search(queries[0])[0].hits]
    with served.client(run, address, token="secret", beside=str(tmp_path)) as client:
        assert [hit["cosine"] for hit in client.send("/search", picture=queries[0]).json["hits"]] == expected
        name = client.send("/rows", TOKEN, picture=queries[0], label="new").json["id"]
        assert client.send("/search", picture=queries[0], k=1).json["hits"][0]["id"] == name
        assert client.ask("DELETE", "/rows?" + quoted(id=name), **TOKEN).status == 200
        assert client.get("/health").json["rows"] == 6 and not os.listdir(tmp_path / "added")


def test_names_in_no_encoding(run, tmp_path, queries):
    name = os.fsencode(tmp_path / "faces") + b"/caf\xe9/0.jpg"
    os.makedirs(os.path.dirname(name))
    with open(name, "wb") as file:
        file.write(queries[0])
    run.gallery(tmp_path / "g").create().add(tmp_path / "faces")
    with served.client(run, str(tmp_path / "g")) as client:
        found = client.send("/search", picture=queries[0]).json
        assert found["hits"][0]["id"].endswith("/caf\\xe9/0.jpg") and found["answer"] == "caf\\xe9"
        assert client.get("/pictures?" + quoted(id=found["hits"][0]["id"])).status == 200
        assert client.get("/search?" + quoted(text="caf\\xe9")).json["labels"] == ["caf\\xe9"]
        assert client.ask("DELETE", "/rows?" + quoted(id=found["hits"][0]["id"])).status == 200
    assert not len(run.gallery(tmp_path / "g")) and os.path.exists(name)


def test_every_path_is_described_and_the_page_loads_nothing_from_elsewhere(kept):
    client, _ = kept
    described = client.get("/openapi.json").json
    assert {*described["paths"]} == {"/embed", "/search", "/same", "/explain", "/rows", "/marks", "/pictures",
                                     "/labels", "/health", "/metrics"}
    assert client.get("/docs").status == client.get("/redoc").status == 404
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.findall(rb"https?://|(?:src|href)=\"(?!data:)", page.content)
    assert page.headers["x-content-type-options"] == "nosniff"
    assert app._page()[1].count("'sha256-") == 2
