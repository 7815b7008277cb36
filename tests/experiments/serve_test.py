"""`geodesic serve` as a user starts it, and its page in a browser."""

import json
import os
import re
import signal
import subprocess
import sys
import types

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("lancedb")

from geodesic.errors import UserError
from geodesic.experiments import serve
from tests import forked
from tests.datasets import images
from tests.experiments import browser, tiny
from tests.experiments.serving import served

GIVEN = dict(host="127.0.0.1", port=0, token="", threshold=None, far=0.0, added="", marks="", pictures=[], batch=0,
             wait_ms=3.0, most_mb=20.0, most_megapixels=50.0, seconds=30.0, requests=256)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return served.untrained(tmp_path_factory.mktemp("run") / "run", input__image_size=64)


@pytest.fixture(scope="module")
def place(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    run.gallery(folder / "people").create().add(tiny.faces(folder / "faces", 3, 3))
    return str(folder / "people")


@pytest.mark.parametrize(("given", "line"), [
    ({"host": "0.0.0.0"}, "--host=0.0.0.0 can be reached from other machines: give a --token"),
    ({"token": "a b"}, "--token is of printable ASCII, without spaces"),
    ({"requests": 0}, "--requests is at least 1; got 0"), ({"most_mb": -1.0}, "--most_mb is at least 0.001; got -1"),
    ({"pictures": ["nowhere"]}, "--pictures: there is no folder 'nowhere'"),
    ({"batch": 3}, "--batch=3 does not divide into 8 devices"),
    ({"port": 70000}, "cannot listen on 127.0.0.1, port 70000"),
    ({"host": "nowhere.invalid", "token": "x"}, "cannot listen on nowhere.invalid, port 0"),
])
def test_what_cannot_be_served_is_one_line(run, place, given, line):
    values = types.SimpleNamespace(workdir=run.workdir, gallery=place, **GIVEN | given)
    with pytest.raises(UserError, match=re.escape(line)):
        serve.main(run.config.copy_and_resolve_references(), values)


def test_no_gallery_and_no_package(run, place, tmp_path, monkeypatch):
    values = types.SimpleNamespace(workdir=run.workdir, gallery=str(tmp_path / "none"), **GIVEN)
    with pytest.raises(FileNotFoundError, match="no gallery in"):
        serve.main(run.config, values)
    find = serve.importlib.util.find_spec
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None if name == "fastapi" else find(name))
    with pytest.raises(UserError, match=r"serving needs fastapi, not installed: pip install 'geodesic\[serve\]'"):
        serve.main(run.config, values)


@pytest.mark.slow
def test_it_serves_what_the_command_finds_until_a_signal(tmp_path):
    """The same bits, by two programs; and status 0 at SIGTERM."""
    run, place = served.untrained(tmp_path / "run", embedder__name="resnet8"), tmp_path / "people"
    run.gallery(place).create().add(tiny.faces(tmp_path / "faces", 3, 3))
    query = tmp_path / "query.png"
    query.write_bytes(images.encoded(images.pixels(77), "PNG"))
    words = [f"--workdir={run.workdir}", f"--gallery={place}", "--cpu_devices=1"]
    done = forked.program("gallery", "search", *words, f"--images={query}", "--format=json", "--threshold=0.5")
    expected = json.loads(done.stdout)["queries"][0]
    process = subprocess.Popen(
        [sys.executable, "-m", "geodesic.experiments.serve", *words, "--port=0", "--threshold=0.5"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"GEODESIC_TOKEN": "secret"})
    try:
        said = next(line for line in process.stdout if line.startswith("listening on http://127.0.0.1:"))
        client = served.Client(int(said.rpartition(":")[2]))
        found = client.send("/search", picture=query.read_bytes()).json
        assert (found["hits"], found["answer"]) == (expected["hits"], expected["answer"])
        assert client.send("/rows", picture=query.read_bytes()).status == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0 and process.stdout.read().endswith("stopped\n")
    finally:
        process.kill()


@pytest.fixture
def chromium(tmp_path):
    if browser.PROGRAM is None:
        pytest.skip("there is no chromium")
    opened = browser.Browser(tmp_path / "profile")
    yield opened
    opened.close()


CARDS = "[...document.querySelectorAll('#found li')]"


def test_the_page_in_a_browser(run, place, chromium, tmp_path):
    """A picture, its neighbours, one of them, its map, a mark: by keyboard, on a phone's width, without a network."""
    query = tmp_path / "query.png"
    query.write_bytes(images.encoded(images.pixels(1, 90, 80), "PNG"))
    with served.client(run, place, threshold=0.5, token="secret") as client:
        address = f"http://127.0.0.1:{client.port}/"
        expected = client.send("/search", picture=query.read_bytes(), k=12).json["hits"]
        chromium.goto(address)
        chromium.until("document.getElementById('about')?.textContent.includes('9 pictures')")
        chromium.choose("#file", query)
        chromium.until(f"{CARDS}.length == 9")
        assert chromium.value(f"{CARDS}.map(card => card.dataset.id)") == [hit["id"] for hit in expected]
        assert chromium.value(f"{CARDS}.map(card => card.querySelector('b').textContent)") == [
            f"{hit['cosine']:.3f}" for hit in expected]
        assert chromium.value(f"{CARDS}.map(card => card.className)") == [
            "same" if hit["known"] else "different" for hit in expected]
        chromium.until(f"{CARDS}.every(card => card.querySelector('img')?.naturalWidth > 0)")
        assert chromium.value("document.getElementById('asked').naturalWidth") == 80
        # One label alone, and back.
        chromium.value("only.value = 'class2'; only.dispatchEvent(new Event('change'))")
        chromium.until(f"{CARDS}.length == 3")
        chromium.value("only.value = ''; only.dispatchEvent(new Event('change'))")
        chromium.until(f"{CARDS}.length == 9")
        # Marked by a key: without the token it says so, with it the server writes it down.
        chromium.value(f"{CARDS}[1].querySelector('.open').focus()")
        chromium.press("d")
        chromium.until("document.getElementById('status').textContent.includes('takes the server')")
        chromium.value(f"token.value = 'secret'; {CARDS}[1].querySelector('.open').focus()")
        chromium.press("d")
        chromium.until("document.getElementById('status').textContent == 'marked as different'")
        assert chromium.value(f"{CARDS}[1].querySelector('[data-key=D]').getAttribute('aria-pressed')") == "true"
        mark = json.loads((tmp_path.parent / place / "marks.jsonl").read_text())
        assert (mark["other"], mark["same"]) == (expected[1]["id"], False)
        # Along by the arrows, the map, and on by Enter.
        chromium.press("ArrowRight")
        assert chromium.value("document.activeElement.closest('li').dataset.id") == expected[2]["id"]
        chromium.press("m")
        chromium.until("document.getElementById('wait').textContent.includes('add up to the cosine')")
        assert chromium.value("document.getElementById('picture').naturalWidth") == 588
        chromium.press("Escape")
        chromium.size(390, 844)
        assert chromium.value("document.documentElement.scrollWidth") == 390
        chromium.press("Enter")
        chromium.until(f"{CARDS}.length == 8")  # a row does not find itself
        assert chromium.value(f"document.activeElement == {CARDS}[0].querySelector('.open')")
        chromium.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000
        chromium.value("text.value = 'LASS0'; text.focus()")
        chromium.press("Enter")
        chromium.until("document.getElementById('answer').textContent == 'class0'")
        chromium.value("history.back()")
        chromium.until(f"{CARDS}.length == 8")
        assert not chromium.errors
        assert all(url.startswith((address, "blob:", "data:")) for url in chromium.requests), chromium.requests


def test_a_name_is_text_on_the_page(run, chromium, tmp_path):
    name = "<img src=x onerror=alert(1)> & \"'"
    (tmp_path / "faces" / name).mkdir(parents=True)
    (tmp_path / "faces" / name / "0.png").write_bytes(images.encoded(images.pixels(1), "PNG"))
    run.gallery(tmp_path / "people").create().add(tmp_path / "faces")
    with served.client(run, str(tmp_path / "people")) as client:
        chromium.goto(f"http://127.0.0.1:{client.port}/#text=img")
        chromium.until(f"{CARDS}.length == 1")
        assert chromium.value("document.getElementById('answer').textContent") == name
        assert chromium.value("document.querySelectorAll('img[src=x]').length") == 0 and not chromium.errors
