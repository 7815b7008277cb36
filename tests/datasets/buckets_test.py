import pytest

from geodesic.datasets import buckets
from geodesic.errors import UserError
from tests.datasets import streams


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    (tmp_path / "there" / "b").mkdir(parents=True)
    (tmp_path / "there" / "b" / "file").write_bytes(bytes(range(256)) * 400)
    with streams.cache_of(monkeypatch, tmp_path / "cache"):
        yield streams.use_bucket(monkeypatch, tmp_path / "there")


def test_ranges_come_as_asked_and_a_second_time_from_this_disk(bucket):
    [file] = buckets.find("gs://b/file", ())
    assert file.size == 102400
    ranges = [(file, 0, 10), (file, 255, 3), (file, 102390, 10), (file, 50, 0), (file, 0, 102400)]
    expected = [(bytes(range(256)) * 400)[start:start + size] for _, start, size in ranges]
    assert buckets.read_many(ranges) == expected
    asked = bucket.asked
    assert buckets.read_many(ranges) == expected and bucket.asked == asked


def test_without_a_cache_no_more_is_fetched_than_is_read(bucket, monkeypatch):
    monkeypatch.setenv("GEODESIC_CACHE_GB", "0")
    [file] = buckets.find("gs://b/file", ())
    assert len(buckets.read(file, 100, 1000)) == 1000 == bucket.read


def test_only_what_failed_is_asked_for_again(bucket, capsys):
    [file] = buckets.find("gs://b/file", ())
    bucket.failures += [ConnectionResetError("by peer"), TimeoutError()]
    buckets.read_many([(file, 20000 * place, 10) for place in range(5)])
    assert bucket.asked == 5 + 2
    assert capsys.readouterr().out.count("gs://b/file cannot be reached") == 1


class AnswerError(Exception):
    def __init__(self, code):
        super().__init__(f"the bucket says {code}")
        self.code = code


@pytest.mark.parametrize(("error", "raised"), [
    (AnswerError(429), None), (AnswerError(503), None), (OSError(16, "busy"), None), (AnswerError(403), UserError),
    (PermissionError("no"), UserError), (AnswerError(404), FileNotFoundError),
    (FileNotFoundError("x"), FileNotFoundError),
    (AnswerError(416), UserError), (RuntimeError("cannot schedule new futures after shutdown"), RuntimeError)])
def test_what_is_tried_again(error, raised):
    answers = [error]
    action = lambda: (_ for _ in ()).throw(answers.pop()) if answers else "done"
    if raised is None:
        assert buckets.attempt(action, "gs://b/file") == "done"
        return
    with pytest.raises(raised):
        buckets.attempt(action, "gs://b/file")


def test_it_ends_at_last(bucket):
    [file] = buckets.find("gs://b/file", ())
    bucket.failures += [TimeoutError("slow")] * 99
    with pytest.raises(buckets.UnreachableError, match="gs://b/file cannot be reached: slow"):
        buckets.read(file, 0, 10)
    assert len(bucket.failures) == 99 - buckets.TRIES


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


def test_a_small_file_is_written_whole_or_not_at_all(bucket, tmp_path):
    for path in ("gs://b/new", str(tmp_path / "new")):
        assert buckets.load(path) is None
        buckets.store(path, b"content")
        assert buckets.load(path) == b"content"
    with pytest.raises(OSError):
        buckets.store(str(tmp_path / "no" / "new"), b"content")
