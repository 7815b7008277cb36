"""Requests that nobody should send: each gets an answer in time, none a 5xx, and nothing is read that should not be."""

import io
import json
import os
import random
import re
import socket
import urllib.parse

import PIL.Image
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("lancedb")

from tests.datasets import images
from tests.experiments import tiny
from tests.experiments.serving import served
from tests.experiments.serving.app_test import BAD, bomb

SECRET = "a secret of the disk that no answer may hold"
FORMS = ("/embed", "/search", "/same", "/explain", "/rows", "/marks")
PATHS = (*FORMS, "/", "/pictures", "/labels", "/health", "/metrics", "/openapi.json", "/docs", "/rows/..", "//")
FIELDS = ("picture", "other", "id", "other_id", "k", "only", "label", "text", "side", "one", "__proto__", "", "a\"b",
          "\0")
TYPES = ("image/jpeg", "text/html", "multipart/form-data", "application/json", "multipart/form-data; boundary=",
         "multipart/form-data; boundary=" + "b" * 300, "application/x-www-form-urlencoded", "", "a/b; charset=utf-7",
         "multipart/form-data; charset=rot13; boundary=B", "multipart/form-data; charset=utf-16; boundary=B")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    tiny.faces(folder / "faces", 2, 2)
    (folder / "secret.txt").write_text(SECRET)
    (folder / "faces" / "secret.txt").write_text(SECRET)
    run = served.untrained(folder / "run")
    run.gallery(folder / "people").create().add(folder / "faces")
    with served.client(run, str(folder / "people"), token="s", most_bytes=300_000, most_pixels=10**6,
                       seconds=20.0) as client:
        client.folder, picture = folder, images.encoded(images.pixels(9))
        assert client.send("/rows", {"Authorization": "Bearer s"}, picture=picture).status == 201
        yield client
        # What was written with the token lies where it should, under a name of the server's.
        assert {*os.listdir(folder)} == {"faces", "people", "run", "secret.txt"}
        assert {*os.listdir(folder / "people")} <= {".lock", "rows.lance", "added", "marks.jsonl"}
        added = [*(folder / "people").glob("added/*")]
        assert added and all(re.fullmatch(r"[0-9a-f]{32}\.[a-z]{3,4}", path.name) for path in added)
        assert {row["path"] for row in run.gallery(folder / "people").rows()} <= {
            *map(str, added), *map(str, folder.glob("faces/*/*.jpg"))}
        assert not run.gallery(folder / "people").check().problems


def climbing(rng: random.Random, folder) -> str:
    name = rng.choice((
        f"{folder}/secret.txt", f"{folder}/faces/secret.txt", f"{folder}/faces/../secret.txt", "/etc/passwd",
        "../" * rng.randint(1, 9) + "etc/passwd", "..\\..\\secret.txt", "/proc/self/environ", "file:///etc/passwd",
        "s3://bucket/secret", "http://127.0.0.1:1/", f"{folder}/faces/class0/0.jpg", f"{folder}/people/rows.lance",
        "\0", "é\ud800".encode("utf-8", "surrogatepass").decode("latin-1")))
    return rng.choice((name, urllib.parse.quote(name), urllib.parse.quote(urllib.parse.quote(name))))


def content(rng: random.Random, folder) -> bytes:
    """Of a file in a form: pictures of every kind, damaged ones, and none."""
    kind = rng.choice(("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"))
    picture = images.encoded(images.pixels(rng.randrange(50)), kind)
    damaged = bytearray(picture)
    for _ in range(rng.randint(1, 20)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    many = io.BytesIO()
    PIL.Image.new("L", (16, 16)).save(many, "GIF", save_all=True, append_images=[PIL.Image.new("L", (16, 16), 9)] * 50)
    return rng.choice((
        *(picture,) * 8, picture[:rng.randrange(len(picture))], bytes(damaged), rng.randbytes(rng.randrange(3000)), b"",
        rng.choice([*BAD.values()])[0], bomb(rng.choice((1, 999, 65535, 2**31 - 1)), rng.choice((1, 999, 2**31 - 1))),
        b"\xff\xd8" + rng.randbytes(300), b"%!PS-Adobe\n(/etc/passwd) (r) file", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        picture + rng.randbytes(200), f"{folder}/secret.txt".encode(), many.getvalue(), b"x" * 400_000,
        bytes(4) + b"ftypheic" + rng.randbytes(400)))


def form(rng: random.Random, folder) -> tuple[bytes, str]:
    """(a body, its boundary), well formed at first."""
    line, parts = rng.choice(("B", "x" * 60, "--")), []
    for _ in range(rng.choice((1, 1, 2, 2, 3, 30))):
        name = rng.choice((*("picture", "picture", "other") * 6, *FIELDS))
        head = f'Content-Disposition: form-data; name="{name}"'
        if name in ("picture", "other") or rng.random() < 0.2:
            head += f'; filename="{climbing(rng, folder)}"\r\nContent-Type: {rng.choice(TYPES)}'
            value = content(rng, folder)
        else:
            value = rng.choice((climbing(rng, folder), "5", "-1", "1e9", "9" * 400, "NaN", "é", "")).encode(
                "utf-8", "surrogatepass")
        parts.append(f"--{line}\r\n{head}\r\n\r\n".encode("utf-8", "surrogatepass") + value + b"\r\n")
    body = b"".join(parts) + f"--{line}--\r\n".encode()
    return body, line


def request(rng: random.Random, folder, host: str) -> bytes:
    """The bytes of a request; some of it is wrong, and often nothing."""
    path = rng.choice(FORMS if rng.random() < 0.75 else PATHS)
    method = "POST" if path in FORMS else "GET"
    if rng.random() < 0.2:
        method = rng.choice(("GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "XYZ"))
    if rng.random() < 0.4:
        path += "?" + "&".join(f"{rng.choice(FIELDS).strip(chr(0))}={urllib.parse.quote(climbing(rng, folder))}"
                               for _ in range(rng.randint(1, 3)))
    if rng.random() < 0.07:
        path = rng.choice(("/" + climbing(rng, folder), "/%00", "/" + "a" * 5000, "/%ff%fe", "*", "http://evil.example/"))
    body, line = form(rng, folder) if method != "GET" else (b"", "B")
    kind = f"multipart/form-data; boundary={line}" if rng.random() < 0.85 else rng.choice(TYPES)
    if rng.random() < 0.1:
        value = rng.choice(({"one": climbing(rng, folder), "other": [], "same": 3}, [], "x", {"one": 1},
                            {"one": "a" * 3000, "other": "", "same": True}))
        body, kind = json.dumps(value).encode(), "application/json"
    if rng.random() < 0.15:
        body = body[:rng.randrange(len(body) + 1)]
    headers = [f"Host: {host}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close"]
    headers += rng.sample(("Authorization: Bearer wrong", "Authorization: " + "x" * 3000, "Accept: \xe9",
                           "Range: bytes=0-1", "Content-Encoding: gzip", "X-Forwarded-For: 127.0.0.1",
                           "Expect: 100-continue", "Cookie: a=b", "Transfer-Encoding: chunked", "Content-Length: 3",
                           "Upgrade: websocket\r\nConnection: upgrade", "Bad Header: x", "Origin: null"),
                          k=rng.choice((0, 0, 0, 1, 3)))
    if rng.random() < 0.3:
        headers.append("Authorization: Bearer s")
    text = f"{method} {urllib.parse.quote(path, safe='/?&=%:*')} HTTP/1.1\r\n" + "\r\n".join(headers) + "\r\n\r\n"
    return text.encode("latin-1") + body


def answered(port: int, sent: bytes) -> bytes:
    """Everything that comes back. After two seconds without a word it is told that no more will come."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        parts = []
        try:
            connection.sendall(sent)
        except OSError:  # refused before all of it was sent
            pass
        try:
            connection.settimeout(2)
            while part := received(connection):
                parts.append(part)
        except ConnectionError:
            pass
        return b"".join(parts)


def received(connection) -> bytes:
    try:
        return connection.recv(1 << 16)
    except TimeoutError:
        connection.settimeout(30)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1 << 16)


def fuzz(client, seed: int, count: int) -> dict[int, int]:
    statuses = {}
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        sent = request(rng, client.folder, f"127.0.0.1:{client.port}")
        answer = answered(client.port, sent)
        assert SECRET.encode() not in answer and b"root:" not in answer, (seed, number)
        answer = re.sub(rb"^HTTP/1.1 100 .*?\r\n\r\n", b"", answer, flags=re.DOTALL)
        # 0: the request was cut short, and its sender had gone.
        status = int(re.match(rb"HTTP/1.1 (\d+)", answer)[1]) if answer else 0
        statuses[status] = statuses.get(status, 0) + 1
        assert status < 500, (seed, number, status, sent[:300], answer[-300:])
        if status >= 400 and b"application/json" in answer and not sent.startswith(b"HEAD"):
            body = answer.partition(b"\r\n\r\n")[2]
            assert [*json.loads(body)] == ["error"] and body.count(b"\n") == 1, (seed, number, body)
    return statuses


def test_some(client):
    statuses = fuzz(client, seed=0, count=50)
    assert {200, 401, 404, 405, 422} <= {*statuses}, statuses


@pytest.mark.slow
def test_a_thousand(client, capsys):
    statuses = fuzz(client, seed=1, count=1000)
    with capsys.disabled():
        print(statuses)
    assert statuses[200] > 30 and statuses[422] > 50 and statuses[413] > 20 and statuses[401] > 20
    picture = images.encoded(images.pixels(3))
    assert client.send("/search", picture=picture).status == 200
