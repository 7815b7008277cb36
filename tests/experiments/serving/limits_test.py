"""How many, how much, how long, and who may write."""

import concurrent.futures
import socket
import threading
import time

import pytest

from tests.datasets import images
from tests.experiments import tiny
from tests.experiments.serving import served


@pytest.fixture(scope="module")
def place(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    run.gallery(folder / "people").create().add(tiny.faces(folder / "faces", 2, 2))
    return str(folder / "people")


PICTURE = images.encoded(images.pixels(1))


def held_up(client):
    """The network waits for the event that this gives, which is told when it is asked."""
    asked, go, embed = threading.Event(), threading.Event(), client.model.run.embed_views

    def wait(views, batch):
        asked.set()
        assert go.wait(20)
        return embed(views, batch)

    client.model.run.embed_views = wait
    return asked, go


def test_too_many_at_once_are_told_to_come_again(run, place):
    with served.client(run, place, requests=2) as client, concurrent.futures.ThreadPoolExecutor(2) as pool:
        asked, go = held_up(client)
        waiting = [pool.submit(client.send, "/embed", picture=PICTURE) for _ in range(2)]
        asked.wait(10)
        until = time.monotonic() + 10
        while (answer := client.get("/labels")).status == 200 and time.monotonic() < until:
            pass  # the second may be on its way
        assert answer.status == 503 and answer.headers["retry-after"] == "1"
        assert answer.error == "2 requests are being answered: try again"
        assert client.get("/health").status == client.get("/metrics").status == 200
        go.set()
        assert [future.result().status for future in waiting] == [200, 200]
        assert client.get("/labels").status == 200
        told = client.get("/metrics").content.decode()
        assert 'geodesic_requests_total{path="/labels",status="503"}' in told
        assert 'geodesic_requests_total{path="/embed",status="200"} 2' in told


def test_too_large_and_too_long(run, place):
    with served.client(run, place, most_bytes=5000, seconds=1.0) as client:
        answer = client.send("/embed", picture=b"x" * 5000)
        assert answer.status == 413 and answer.error.startswith("a request has 5,000 bytes at most; got 5")
        form = served.form({"picture": b"x" * 9000})
        chunks = (form[start:start + 1000] for start in range(0, 9000, 1000))  # whose size nobody has said
        answer = client.ask("POST", "/embed", chunks, Content_Type=f"multipart/form-data; boundary={served.LINE}")
        assert answer.status == 413 and answer.error == "a request has 5,000 bytes at most"
        _, go = held_up(client)
        answer = client.send("/embed", picture=PICTURE)
        assert answer.status == 503 and answer.error == "it takes more than 1 s: try again"
        go.set()
        assert client.send("/embed", picture=PICTURE).status == 200
        slow = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        for sent, told in ((slow + b"Content-Length: 99\r\n\r\n--x", b"408 Request Timeout"),
                           (b"GET /health HTTP/1.1\r\nHost: loc", b"")):  # closed without a word
            with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
                connection.sendall(sent)
                assert told in (answer := connection.recv(1000)) and bool(answer) == bool(told)


def test_without_a_token_another_sites_page_cannot_write(run, place):
    body, kind = b'{"one": "x", "other": "y", "same": true}', {"Content_Type": "application/json"}
    with served.client(run, place) as client:
        own = f"127.0.0.1:{client.port}"
        assert client.ask("POST", "/marks", body, **kind).status == 404  # no such row: it was let through
        assert client.ask("POST", "/marks", body, Origin=f"http://{own}", **kind).status == 404
        for origin in ("http://evil.example", "null", f"http://{own}.evil.example"):
            assert client.ask("POST", "/marks", body, Origin=origin, **kind).status == 403
        for host in ("evil.example", f"evil.example:{client.port}", "", "[", "127.0.0.1.evil.example"):
            answer = client.get("/labels", Host=host)  # a name that was pointed here
            assert answer.status == 403 and "answers to localhost alone" in answer.error
        for host in ("localhost", "127.0.0.1:1", "[::1]:8000", "LOCALHOST:80"):
            assert client.get("/labels", Host=host).status == 200
    with served.client(run, place, token="secret") as client:
        assert client.get("/labels", Host="gallery.example").status == 200
        assert client.ask("POST", "/marks", body, **kind).status == 401
        for path in ("/rows/", "//rows", "/./rows", "/rows%2f", "/marks?x"):
            assert client.ask("POST", path, body, **kind).status in (401, 404, 405, 307)


def test_it_stops_when_it_has_answered(run, place):
    with served.client(run, place) as client, concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked, go = held_up(client)
        waiting = pool.submit(client.send, "/embed", picture=PICTURE)
        assert asked.wait(10)
        client.server.handle_exit(15, None)
        until = time.monotonic() + 10
        with pytest.raises(OSError):  # nobody else is let in
            while time.monotonic() < until:
                socket.create_connection(("127.0.0.1", client.port), timeout=1).close()
                time.sleep(0.05)
        assert not waiting.done()
        go.set()
        assert waiting.result(10).status == 200
