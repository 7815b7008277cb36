import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from geodesic.datasets import buckets, record_ranges
from geodesic.errors import UserError
from tests.datasets import odd_mutations

SIZES = [0, 9, 65535, 131072, 1, 300_000, 64, 3000, 40, 65536 - 64 - 40, 7]
RECORDS = [np.random.default_rng(place).integers(0, 256, size, np.uint8).tobytes() if place % 2 else bytes(size)
           for place, size in enumerate(SIZES)]


def opened(*paths) -> record_ranges.RecordRanges:
    return record_ranges.RecordRanges([file for path in paths for file in buckets.find(str(path), ())])


def write(path, records, options="group_size:1"):
    writer = ArrayRecordWriter(str(path), options)
    for record in records:
        writer.write(record)
    writer.close()
    return path


@pytest.mark.parametrize("options", ["group_size:1", "group_size:1,uncompressed", "group_size:3,zstd:9",
                                     "group_size:2,brotli", "group_size:4,snappy", "group_size:100"])
def test_the_records_are_those_of_the_library(tmp_path, options):
    path = write(tmp_path / "a", RECORDS, options)
    source = opened(path)
    assert len(source) == len(RECORDS) == len(ArrayRecordDataSource(str(path)))
    assert [source[place] for place in range(len(RECORDS))] == RECORDS
    source.fetch(range(len(RECORDS)))
    assert [source[place] for place in range(len(RECORDS))] == RECORDS


def test_many_small_records_over_several_files(tmp_path):
    rng = np.random.default_rng(0)
    records = [rng.integers(0, 256, int(size), np.uint8).tobytes() for size in rng.integers(0, 3000, 500)]
    source = opened(write(tmp_path / "a", records[:200]), write(tmp_path / "empty", []),
                    write(tmp_path / "b", records[200:], "group_size:1,uncompressed"))
    assert [source[place] for place in range(500)] == records


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"written with the option transpose\?"):
        opened(write(tmp_path / "transposed", RECORDS, "group_size:2,transpose:true"))[1]
    (tmp_path / "short").write_bytes(b"1")
    (tmp_path / "zeros").write_bytes(bytes(131072))
    for name in ("short", "zeros"):
        with pytest.raises(UserError, match=f"{name} is damaged, or no ArrayRecord"):
            opened(tmp_path / name)


def test_files_changed_at_random_are_refused_or_have_all_records(tmp_path):
    path = write(tmp_path / "a", RECORDS[4:])
    content, rng, kinds = path.read_bytes(), np.random.default_rng(0), {"refused": 0, "survived": 0}
    for turn in range(300):
        path.write_bytes(content[:rng.integers(len(content))] if turn % 3 == 0 else
                         odd_mutations.mutate(content, rng, same_length=turn % 3 == 1))
        try:
            source = opened(path)
            assert len(source) == len(RECORDS) - 4
            assert [len(source[place]) for place in range(len(source))] == [len(one) for one in RECORDS[4:]]
            kinds["survived"] += 1
        except UserError as error:
            assert "\n" not in str(error)
            kinds["refused"] += 1
    assert kinds["refused"] > 150
