import tarfile
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from geodesic import datasets
from tests.datasets import streams

COUNT, SIZE, AT_ONCE = 200, 200_000, 8


def content(place: int) -> bytes:
    return np.random.default_rng(place).integers(0, 256, SIZE, np.uint8).tobytes()


@pytest.fixture(params=["webdataset", "parquet"])
def source(request, tmp_path, monkeypatch):
    """Of 40 MB, in a bucket."""
    folder = tmp_path / "buckets" / "set"
    folder.mkdir(parents=True)
    if request.param == "webdataset":
        with tarfile.open(folder / "0.tar", "w") as tar:
            for place in range(COUNT):
                streams.add(tar, f"{place:03}.jpg", content(place))
                streams.add(tar, f"{place:03}.cls", b"1")
    else:
        pa.parquet.write_table(pa.table({"image": [{"bytes": content(place)} for place in range(COUNT)],
                                         "label": ["1"] * COUNT}), folder / "train.parquet", row_group_size=10)
    streams.use_bucket(monkeypatch, tmp_path / "buckets")
    with streams.cache_of(monkeypatch, tmp_path / "cache"):
        yield datasets.build(request.param, path="gs://set")


def test_memory_is_that_of_a_batch_however_large_the_set(source):
    order = np.random.default_rng(0).permutation(COUNT)
    tracemalloc.start()
    try:
        for start in range(0, COUNT, AT_ONCE):
            places = order[start:start + AT_ONCE]
            source.fetch(places)
            for place in places:
                assert source[place]["image"] == content(place)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Of Parquet, some row groups of 2 MB while they are unpacked and packed.
    assert AT_ONCE * SIZE < peak < 30e6 < COUNT * SIZE
