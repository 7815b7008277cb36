"""Clients of a server, and what is made of their answers."""

import asyncio

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("lancedb")

from benchmarks import serve, story
from tests.datasets import images
from tests.experiments import tiny
from tests.experiments.serving import served


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    run = served.untrained(folder / "run")
    run.gallery(folder / "people").create().add(tiny.faces(folder / "faces", 2, 2))
    with served.client(run, str(folder / "people")) as client:
        yield client, run.gallery(folder / "people")


def test_every_answer_is_counted_and_held_against_the_galleries(kept):
    client, gallery = kept
    pictures = [images.encoded(images.pixels(seed)) for seed in range(4)]
    expected = [[{"rank": rank, **hit._asdict()} for rank, hit in enumerate(one.hits, start=1)]
                for one in gallery.search(pictures, threshold=0.9)]
    told, seconds = asyncio.run(serve.load(client.port, [*map(serve.request, pictures)], 3, 0.5))
    found = serve.measured(told, seconds, expected)
    assert {place for place, *_ in told} == {0, 1, 2, 3} and 0.5 <= seconds < 30
    assert found["statuses"] == {"200": len(told)} and found["right"] == len(told)
    assert found["answers_per_second"] == pytest.approx(len(told) / seconds) and found["p50_ms"] <= found["p99_ms"]
    wrong = [expected[1], *expected[1:]]
    assert serve.measured(told, seconds, wrong)["right"] == sum(place > 0 for place, *_ in told)
    assert asyncio.run(serve.load_metrics(client.port)) >= 1
    record = {"command": "c", "date": "d", "hardware": "h", "versions": {"jax": "1"}, "load_average": [0, 1],
              "server": "s", "pictures_per_batch": 2.0, "rounds": {3: [found]}}
    assert f"| 0 | {len(told):,} of {len(told):,} |" in serve.table(record)


@pytest.mark.parametrize("browser", [True, False])
def test_the_page_counts_as_open_when_it_shows_neighbours(kept, monkeypatch, browser):
    client, gallery = kept
    if browser and story._CHROMIUM is None:
        pytest.skip("there is no chromium")
    if not browser:
        monkeypatch.setattr(story, "_CHROMIUM", None)
    address = f"http://127.0.0.1:{client.port}"
    assert ", 3 neighbours " in story.opened(address, gallery.rows()[0]["id"])
    with pytest.raises((SystemExit, OSError)):  # no such row: no neighbours
        story.opened(address, "nobody")
