"""The page of neurons: what it holds, that names cannot break it, and, in a browser, what it answers."""

import base64
import contextlib
import html
import io
import json
import re
import subprocess
import urllib.parse

import numpy as np
import PIL.Image
import pytest

from geodesic.experiments.protocols import dissecting
from geodesic.experiments.reporting import neurons_page
from geodesic.metrics import channels
from tests.experiments import browser

NAMES = ['<b>"ape"</b>', "</script><!--", "cat & 'dog'"]
BROWSER = browser.PROGRAM
# Neurons of 48 images: the first three are of a class each, the fourth is dead, and the rest are noise.
IMAGES, NEURONS = 48, 30


def made(labelled=True):
    rng, labels = np.random.default_rng(0), np.arange(IMAGES) % 3
    values = rng.normal(0, 0.1, (IMAGES, NEURONS)).astype(np.float32)
    values[:, :3] += labels[:, None] == np.arange(3)
    values[:, 3] = 0
    positive = labels[:, None] == np.arange(3) if labelled else np.ones((IMAGES, 1), bool)
    scoring = dissecting.halves(positive, 0) if labelled else np.ones(IMAGES, bool)
    selected = dissecting.select(values, positive, scoring) if labelled else None
    rows = np.flatnonzero(scoring)
    strongest = rows[np.argsort(-values[rows], axis=0, kind="stable")[:8].T]
    regions = np.zeros((NEURONS, 8, 2, 3), bool)
    regions[:, :, 0, 1:] = True
    found = dissecting.Neurons(
        {}, np.arange(IMAGES), values, NAMES if labelled else [""], positive, np.arange(3 if labelled else 0), scoring,
        selected, channels.kinds(values), channels.nearest_and_opposite(values), strongest, regions)
    compared = dissecting.controls(selected, values, values, positive, scoring, 0) if labelled else {}
    return found._replace(record={
        "embedder": "tiny", "layer": "stage1", "input": {"image_size": 16}, "images": IMAGES, "chosen_on": 24,
        "scored_on": 24, "classes": 3, "usable_classes": 3, "dead": 1, "saturated": 0, "alike": 0, "map": [2, 3],
        "controls": compared, "says": dissecting.says(compared) if compared else "one class", "neurons": [
            dissecting.of_neuron(place, found, PATHS) for place in range(NEURONS)],
        **dict.fromkeys(("workdir", "digest", "step", "seed", "records", "left_out", "environment"), "")})


PATHS = [f"{NAMES[place % 3]}\udcff/{place} 'and' 100%.jpg" for place in range(IMAGES)]


def view(place):
    return np.full((16, 16, 3), 5 * place, np.uint8)


@pytest.fixture(scope="module")
def page():
    return neurons_page.render(made(), PATHS, view, "thanks to <all>")


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def test_no_name_is_read_as_a_tag_and_nothing_is_loaded(page):
    shown = re.sub(r"<script.*?</script>|data:[^\"\s]*", "", page, flags=re.S)
    assert page.count("<script") == page.count("</script>") == 2 and "<!--" not in page
    assert "<b>" not in shown and "thanks to &lt;all&gt;" in shown and "$" not in shown
    assert not re.findall(r'(?:src|href)="|url\((?!data:)|https?://(?!www\.w3\.org/2000/svg)', page)


def test_the_page_has_every_number(page):
    found, data = made(), data_of(page)
    assert data["names"] == NAMES and data["pictures"] == [path.replace("\udcff", "?") for path in PATHS]
    assert data["of"] == [[place % 3] for place in range(IMAGES)]
    assert [int(one) for one in data["scores"]] == found.scoring.tolist()
    bytes_ = np.frombuffer(base64.b64decode(data["matrix"]), np.uint8).reshape(IMAGES, NEURONS)
    least, most = found.values.min(axis=0), found.values.max(axis=0)
    assert abs(least + bytes_ / 255 * (most - least) - found.values).max() <= (most - least).max() / 510 + 1e-6
    for number, one in enumerate(data["neurons"][:3]):
        assert one["class"] == number and one["auc"] == 1 and one["low"] is None
        assert [row for row, _, _ in one["top"]] == found.strongest[number].tolist()
        assert one["bins"] == np.histogram(found.values[:, number], 16)[0].tolist() and one["top"][0][2] == "60"
    assert data["neurons"][3]["kind"] == "dead" and data["neurons"][3]["top"] == []
    assert data["neurons"][5]["low"] < data["neurons"][5]["auc"] < data["neurons"][5]["high"]
    controls = re.search(r'<table id="controls">.*?</table>', page)[0]
    assert [*re.findall(r"<th>([^<]+)</th><td>", controls)] == [
        "neurons", "turned at random", "untrained network", "shuffled classes"]


def test_pictures_are_once_in_the_sheet(page):
    sheets = re.findall(r"\.s(\d+) \{ background-image: url\(data:image/jpeg;base64,([^)]+)\)", page)
    assert [number for number, _ in sheets] == ["0"]
    sheet = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(sheets[0][1]))))
    assert sheet.shape == (2 * 64, 32 * 64, 3)
    assert abs(sheet[64 + 32, 3 * 64 + 32].astype(int) - 5 * 35).max() <= 3


def test_what_is_too_much_for_a_page_is_left_out_with_a_line(monkeypatch):
    found = made()
    monkeypatch.setattr(neurons_page, "MOST_VALUES", IMAGES * NEURONS - 1)
    page = neurons_page.render(found, PATHS, view)
    data, shown = data_of(page), np.unique(found.strongest)
    assert data["matrix"] is None and "48 images of 30 neurons are more than a page can hold" in page
    assert data["pictures"] == [PATHS[row].replace("\udcff", "?") for row in shown] and len(shown) == 24
    assert [shown[row] for row, _, _ in data["neurons"][0]["top"]] == found.strongest[0].tolist()


def test_without_classes_there_are_pictures_and_no_controls():
    page = neurons_page.render(made(labelled=False), PATHS, view)
    data = data_of(page)
    assert data["usable"] == data["names"] == [] and "class" not in data["neurons"][0] and data["neurons"][0]["top"]
    assert '<table id="controls">' not in page


@pytest.fixture(scope="module")
def browse(tmp_path_factory, page):
    """From a hash, and keys pressed one after another, to the page's neurons, pictures, and what it says."""
    if not BROWSER:
        pytest.skip("there is no chromium here: what the page answers is not tested")
    folder = tmp_path_factory.mktemp("browser")

    def answers(hash_="", keys=(), page=page):
        press = "".join(f'document.body.dispatchEvent(new KeyboardEvent("keydown", {{ key: "{key}", bubbles: true }}));'
                        for key in keys)
        file = folder / "neurons.html"
        file.write_text(page + f"<script>{press} document.title = document.activeElement.id;</script>")
        done = subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
             f"file://{file}#{urllib.parse.quote(hash_, safe='=&+')}"], capture_output=True, text=True, timeout=120)
        dom = done.stdout
        told = re.search(r'<p id="told"[^>]*>(.*?)</p>', dom, re.S)
        assert told, done.stderr[-2000:]
        return {"dom": dom, "told": html.unescape(told[1]), "neurons": [
            int(one) for one in re.findall(r'data-neuron="(\d+)"', dom)], "pictures": [
            html.unescape(one) for one in re.findall(r'data-picture="([^"]*)"', dom)]}

    return answers


@pytest.mark.slow
def test_neurons_are_found_sorted_and_turned_over(browse):
    first = browse()
    assert first["told"] == "30 neurons · page 1 of 2" and first["neurons"][:3] == [0, 1, 2]
    assert len(first["neurons"]) == 24 and browse("page=2")["neurons"] == browse(keys=["ArrowRight"])["neurons"]
    assert len({*first["neurons"], *browse("page=2")["neurons"]}) == 30
    assert browse("page=2", keys=["ArrowLeft"])["neurons"] == first["neurons"]
    assert "<title>find</title>" in browse(keys=["/"])["dom"]
    assert browse("sort=index")["neurons"] == [*range(24)] and browse("sort=silent")["neurons"][0] == 3
    ape = browse("find=APE")
    assert ape["neurons"][0] == 0 and "&lt;b&gt;\"ape\"&lt;/b&gt;" in ape["dom"] and 1 not in ape["neurons"]
    assert "of classes with “APE” in their name" in ape["told"]
    exact = browse(f'find="{NAMES[0]}"')
    assert exact["neurons"] == ape["neurons"] and f"of the class “{NAMES[0]}”" in exact["told"]
    assert browse('find="ape"')["neurons"] == [] == browse('find="17"')["neurons"]  # the name of no class
    assert browse("find=17")["neurons"] == [17] and browse("find=wren")["neurons"] == []
    assert browse("find=99")["told"] == "There is no neuron 99; they are 0 to 29."
    assert 'd="M1 0h1M1 0v1M2 0h1M3 0v1M1 1h1M2 1h1"' in browse("find=0")["dom"]
    # A name in the page's DOM is text: nothing of it has become an element.
    assert not re.search(r"<b>\"?ape", first["dom"])


@pytest.mark.slow
def test_pictures_and_classes_are_asked_for(browse, page):
    found = made()
    high = browse("find=1 high 2 low")
    level = (found.values - found.values.min(axis=0)) / np.maximum(np.ptp(found.values, axis=0), 1e-9)
    best = np.argsort(-np.minimum(level[:, 1], 1 - level[:, 2]))[0]
    assert high["pictures"][0] == PATHS[best].replace("\udcff", "?") and "1 is high and 2 is low" in high["told"]
    path = PATHS[4].replace("\udcff", "?")
    one = browse("picture=" + urllib.parse.quote(path))  # twice quoted: as a link of the page has it
    assert "There is no picture" in one["told"]
    one = browse("picture=" + path)
    deviations = (found.values - found.values.mean(axis=0)) / np.maximum(found.values.std(axis=0), 1e-9)
    assert one["told"].startswith(f"Neurons that fire most for {path}") and one["neurons"][0] == deviations[4].argmax()
    linked = re.findall(r'href="#(picture=[^"]+)"', one["dom"])[-1]
    assert browse(urllib.parse.unquote_plus(linked))["told"].startswith("Neurons that fire most for ")
    pair = browse(f"one={NAMES[0]}&other={NAMES[1]}")
    assert pair["told"].startswith(f"Neurons that tell {NAMES[0]} from {NAMES[1]}: chosen on one half")
    assert {*pair["neurons"][:2]} == {0, 1} and "high for &lt;b&gt;\"ape\"&lt;/b&gt;: AUC 1.000" in pair["dom"]


@pytest.mark.slow
def test_a_page_without_values_or_classes_says_so(browse, monkeypatch):
    plain = neurons_page.render(made(labelled=False), PATHS, view)
    assert browse(page=plain)["neurons"][:2] == [0, 1] and 'id="one"' not in browse(page=plain)["dom"]
    monkeypatch.setattr(neurons_page, "MOST_PICTURES", 10)
    less = neurons_page.render(made(), PATHS, view)
    assert "does not have the values" in browse("find=1 high", page=less)["told"]
    assert browse(page=less)["neurons"][0] == 0


@pytest.mark.skipif(not BROWSER, reason="there is no chromium here: the page's keys are not tested")
def test_the_page_is_worked_by_keys_alone_and_loads_nothing(tmp_path, page):
    (tmp_path / "neurons.html").write_text(page)
    with contextlib.closing(browser.Browser(tmp_path / "profile")) as opened:
        opened.goto(f"file://{tmp_path}/neurons.html")
        opened.until("document.readyState === 'complete' && location.protocol === 'file:'")
        told = 'document.getElementById("told").textContent'
        neurons = '[...document.querySelectorAll("[data-neuron]")].map(one => Number(one.dataset.neuron))'
        first = opened.value(neurons)
        opened.press("ArrowRight")
        opened.until(f'{told}.includes("page 2 of 2")')
        assert not {*first} & {*opened.value(neurons)}
        opened.press("ArrowLeft")
        opened.until(f'{told}.includes("page 1 of 2")')
        opened.press("/")
        assert opened.value("document.activeElement.id") == "find" and not opened.value("document.activeElement.value")
        opened.type("1 high 2 low")
        opened.press("Enter")
        opened.until(f'{told}.includes("1 is high and 2 is low")')
        assert "find=1+high+2+low" in opened.value("location.hash")
        for _ in range(12):  # from the box over the button and the lists to the first picture
            opened.press("Tab")
            if opened.value('document.activeElement.classList.contains("pic")'):
                break
        shown = opened.value("document.activeElement.title")
        opened.press("Enter")
        opened.until(f'{told}.startsWith("Neurons that fire most for")')
        assert opened.value(told).removeprefix("Neurons that fire most for ").split(" (")[0] == shown.split(" · ")[0]
        opened.value('document.getElementById("sort").focus()')
        opened.press("ArrowDown")
        opened.until('location.hash.includes("sort=index")')
        assert {one.split(":")[0] for one in opened.requests} == {"file", "data"}
