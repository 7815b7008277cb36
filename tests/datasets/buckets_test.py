import random
import subprocess
import sys

import pytest

from geodesic import datasets
from geodesic.datasets import attempts, buckets
from geodesic.errors import UserError
from geodesic.experiments.process import storage
from tests import buckets as services
from tests.datasets import images, streams


@pytest.fixture
def here(monkeypatch, tmp_path):
    (tmp_path / "there" / "b").mkdir(parents=True)
    (tmp_path / "there" / "b" / "file").write_bytes(bytes(range(256)) * 400)
    with streams.cache_of(monkeypatch, tmp_path / "cache"):
        yield streams.use_bucket(monkeypatch, tmp_path / "there")


def test_ranges_come_as_asked_and_a_second_time_from_this_disk(here):
    [file] = buckets.find("gs://b/file", ())
    assert file.size == 102400
    ranges = [(file, 0, 10), (file, 255, 3), (file, 102390, 10), (file, 50, 0), (file, 0, 102400)]
    expected = [(bytes(range(256)) * 400)[start:start + size] for _, start, size in ranges]
    assert buckets.read_many(ranges) == expected
    asked = here.asked
    assert buckets.read_many(ranges) == expected and here.asked == asked


def test_without_a_cache_no_more_is_fetched_than_is_read(here, monkeypatch):
    monkeypatch.setenv("GEODESIC_CACHE_GB", "0")
    [file] = buckets.find("gs://b/file", ())
    assert len(buckets.read(file, 100, 1000)) == 1000 == here.read


def test_only_what_failed_is_asked_for_again(here, capsys):
    [file] = buckets.find("gs://b/file", ())
    here.failures += [ConnectionResetError("by peer"), TimeoutError()]
    buckets.read_many([(file, 20000 * place, 10) for place in range(5)])
    assert here.asked == 5 + 2
    assert capsys.readouterr().out.count("gs://b/file cannot be reached") == 1


def test_it_ends_at_last(here):
    [file] = buckets.find("gs://b/file", ())
    here.failures += [TimeoutError("slow")] * 99
    with pytest.raises(attempts.UnreachableError, match="gs://b/file cannot be reached: slow"):
        buckets.read(file, 0, 10)
    assert len(here.failures) == 99 - attempts.TRIES


def test_patterns():
    assert buckets.expand("a") == ["a"] and buckets.expand("a{b}c") == ["a{b}c"]
    with pytest.raises(UserError, match="numbers 9 to 1"):
        buckets.expand("{9..1}")
    with pytest.raises(UserError, match="0 to 99999999"):
        buckets.expand("{0..99999999}")


def test_a_file_is_found_as_it_is_called(tmp_path):
    (tmp_path / "{0..1}").write_bytes(b"x")
    assert [file.size for file in buckets.find(str(tmp_path / "{0..1}"), (".tar",))] == [1]
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(UserError, match=r"names 1 file\(s\) twice"):
        buckets.find(f"{tmp_path}/{{x,x}}", ())


def test_a_small_file_is_written_whole_or_not_at_all(here, tmp_path):
    for path in ("gs://b/new", str(tmp_path / "new")):
        assert buckets.load(path) is None
        buckets.store(path, b"content")
        assert buckets.load(path) == b"content"
    with pytest.raises(OSError):
        buckets.store(str(tmp_path / "no" / "new"), b"content")


KINDS = {"webdataset": streams.write_shards, "parquet": streams.write_parquet, "image_folder": streams.write_folder}


@services.s3_and_slowly_gs
@pytest.mark.parametrize("kind", KINDS)
def test_services_that_fail_now_and_then_give_the_same_batches(bucket, tmp_path, monkeypatch, servers, kind):
    """Through gcsfs and s3fs, from servers that answer as GCS and S3 do; a fifth of the requests is lost."""
    folder = datasets.build("image_folder", path=str(images.make_folder(tmp_path / "photos", 3, 7)))
    KINDS[kind](tmp_path / "set", folder)
    storage.send(str(tmp_path / "set"), f"{bucket}/set")
    scheme = bucket.partition(":")[0]
    with streams.cache_of(monkeypatch, tmp_path / "cache", 0), services.Proxy(servers[scheme], 0.2) as proxy:
        monkeypatch.setattr(attempts, "_LONGEST_PAUSE", 0.05)
        services.use(monkeypatch, **{scheme: proxy.port})
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own tries are up to 20 s apart, at random
        attempts._filesystem.cache_clear()
        source = datasets.build(kind, path=f"{bucket}/set")
        assert source.record_names() == datasets.build(kind, path=str(tmp_path / "set")).record_names()
        assert streams.same(streams.batches(source, 6), streams.batches(folder, 6))
        assert proxy.faults.total() > 2
        with pytest.raises(FileNotFoundError, match=f"no (file|folder) '{bucket}/none'"):
            datasets.build(kind, path=f"{bucket}/none")
    attempts._filesystem.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "workers"), [("webdataset", 0), ("webdataset", 2), ("parquet", 0),
                                               ("image_folder", 2)])
def test_a_run_killed_at_random_moments_goes_on_with_the_batch_that_came_next(bucket, tmp_path, monkeypatch, kind,
                                                                              workers):
    folder = datasets.build("image_folder", path=str(images.make_folder(tmp_path / "photos", 3, 7)))
    KINDS[kind](tmp_path / "set", folder)
    storage.send(str(tmp_path / "set"), f"{bucket}/set")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    steps, kills, rng = 400, 0, random.Random(0)

    def run(name, path, state, patience=None) -> list[str]:
        started = subprocess.Popen([sys.executable, "-m", "tests.datasets.streamed_run", name, path, str(steps),
                                    str(tmp_path / state), str(workers)], stdout=subprocess.PIPE, text=True)
        lines = []
        for line in started.stdout:
            lines.append(line.strip())
            if patience is not None and len(lines) == patience:
                started.kill()
        started.wait()
        return [line for line in lines if line[0].isdigit()]

    whole = run("image_folder", str(tmp_path / "photos"), "whole")
    assert len(whole) == steps
    found: dict[str, str] = {}
    while len(found) < steps:
        for line in run(kind, f"{bucket}/set", "killed", rng.randrange(20, 120)):
            step, digest = line.split()
            assert found.setdefault(step, digest) == digest  # a step that was made again, after its state was lost
        kills += 1
    assert kills > 4 and [f"{step} {found[step]}" for step in sorted(found, key=int)] == whole
