"""A thousand damaged files of each kind that data comes in: refused with a clear line or read as they were meant."""

import collections
import concurrent.futures
import contextlib
import functools
import io
import json
import multiprocessing
import pathlib
import pickle
import tempfile
import warnings

import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets import decoding
from geodesic.datasets.sources import array_record
from tests.datasets import images, odd_mutations
from tests.datasets.odd_mutations import mutate
from tests.datasets.sources import record_io_test

SECONDS = 300
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "AVIF")
IDENTITIES = 5


def encoded(index: int) -> bytes:
    return images.encoded(images.pixels(index, 32, 32))


@functools.cache
def image_files() -> list[bytes]:
    return [images.encoded(images.pixels(0, 48, 40), kind) for kind in FORMATS]


def try_image(rng: np.random.Generator, folder: pathlib.Path) -> str:
    content = mutate(image_files()[rng.integers(len(FORMATS))], rng)
    try:
        image = datasets.decode({"image": content, "path": "mutated"})
    except ValueError as error:
        assert str(error).startswith("cannot read the image mutated") and " at 0x" not in str(error)
        return "refused"
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    return "survived"


def outcome(build, truth: dict[bytes, int], labels: list[int]) -> str:
    """Of a source whose record i has, undamaged, label i; each image that came through whole has its own label."""
    try:
        source = build()
    except (ValueError, FileNotFoundError):
        return "refused"
    refused = len(source) != len(labels)
    for index in range(len(source)):
        try:
            record = source[index]
        except ValueError:
            refused = True
            continue
        known = truth.get(record["image"], labels[index] if index < len(labels) else None)
        if record["label"] != known:
            return "ANOTHER LABEL"
    return "refused" if refused else "survived"


@functools.cache
def record_io() -> tuple[dict[str, bytes], list[int]]:
    """insightface's layout: (its files, the labels)."""
    labels = [identity for identity in range(IDENTITIES) for _ in range(identity % 3 + 1)]
    first = len(labels) + 1
    payloads = {0: record_io_test.header([first, first + IDENTITIES], 0)}
    payloads |= {key: record_io_test.header([label], key) + encoded(key) for key, label in enumerate(labels, start=1)}
    ends = np.cumsum([0, *np.bincount(labels)]) + 1
    payloads |= {first + identity: record_io_test.header([ends[identity], ends[identity + 1]], first + identity)
                 for identity in range(IDENTITIES)}
    with tempfile.TemporaryDirectory() as folder:
        record_io_test.write(pathlib.Path(folder), payloads)
        return {name: pathlib.Path(folder, name).read_bytes() for name in ("train.rec", "train.idx")}, labels


def try_record_io(rng: np.random.Generator, folder: pathlib.Path) -> str:
    files, labels = record_io()
    damaged = ("train.rec", "train.rec", "train.idx")[rng.integers(3)]
    for name, content in files.items():
        (folder / name).write_bytes(mutate(content, rng) if name == damaged else content)
    truth = {encoded(key): label for key, label in enumerate(labels, start=1)}
    return outcome(lambda: datasets.build("record_io", path=str(folder / "train.rec")), truth, labels)


def try_bin(rng: np.random.Generator, folder: pathlib.Path) -> str:
    whole, same = [encoded(index) for index in range(12)], [True, False] * 3
    path = folder / "pairs.bin"
    path.write_bytes(mutate(pickle.dumps((whole, same), protocol=int(rng.integers(2, 6))), rng))
    try:
        pairs = datasets.build_pairs("bin", path=str(path))
    except ValueError:
        return "refused"
    if pairs.same.tolist() != same:
        return "ANOTHER LABEL"
    for index, image in enumerate(whole):
        found = pairs.images[index]["image"]
        if found in whole and found != image:  # a pair of other images
            return "ANOTHER LABEL"
    return "survived"


@functools.cache
def shard() -> tuple[bytes, bytes, dict]:
    with tempfile.TemporaryDirectory() as folder:
        entry = array_record.write_shard(folder, "0", [(index % 3, str(index), encoded(index)) for index in range(12)])
        return (*(pathlib.Path(folder, entry[key]).read_bytes() for key in ("file", "index")), entry)


def try_array_record(rng: np.random.Generator, folder: pathlib.Path) -> str:
    """Damage that keeps the size: any other is refused by its size."""
    content, index, entry = shard()
    (folder / entry["file"]).write_bytes(mutate(content, rng, same_length=True))
    (folder / entry["index"]).write_bytes(index)
    (folder / "manifest.json").write_text(json.dumps({"images": 12, "class_names": list("abc"), "shards": [entry]}))
    labels = [place % 3 for place in range(12)]
    return outcome(lambda: datasets.build("array_record", path=str(folder)),
                   {encoded(place): label for place, label in enumerate(labels)}, labels)


# Kind -> (a try, how many).
KINDS = {"images": (try_image, 1000), ".rec and .idx": (try_record_io, 1000), ".bin": (try_bin, 1000),
         "prepared shards": (try_array_record, 400)} | {kind: (one, 1000) for kind, one in odd_mutations.KINDS.items()}


def fuzz(kind: str) -> dict[str, int]:
    """In a process of its own: a crash of a decoder is to be seen, and not to end the tests."""
    warnings.simplefilter("ignore")
    decoding.MAX_PIXELS = 20_000_000
    outcomes = collections.Counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        for seed in range(KINDS[kind][1]):
            outcomes[KINDS[kind][0](np.random.default_rng((seed, len(kind))), pathlib.Path(folder))] += 1
    return dict(outcomes)


@pytest.mark.parametrize("kind", odd_mutations.KINDS)
def test_what_is_changed_is_refused_or_means_what_it_should(kind, tmp_path):
    with contextlib.redirect_stdout(io.StringIO()):
        tries = [odd_mutations.KINDS[kind](np.random.default_rng((seed, 99)), tmp_path) for seed in range(60)]
    assert {*tries} == {"refused", "survived"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_or_harmless(kind):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        outcomes = pool.submit(fuzz, kind).result(timeout=SECONDS)
    tries = KINDS[kind][1]
    print(f"\n| {kind}, damaged | {tries} tries | {outcomes.get('refused', 0)} refused | "
          f"{outcomes.get('survived', 0)} read | {outcomes.get('ANOTHER LABEL', 0)} with another label |")
    assert sum(outcomes.values()) == tries and {*outcomes} <= {"refused", "survived"}
    assert outcomes["refused"] > (0 if kind in odd_mutations.KINDS else tries / 4) and outcomes["survived"]
