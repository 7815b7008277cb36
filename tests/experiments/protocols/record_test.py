import json
import shlex

import pytest

from geodesic.experiments.protocols import record
from tests.experiments.protocols.comparison_test import changed, made

GOOD = made(**{"recall@1": 0.7})


@pytest.mark.parametrize(("path", "value", "problem"), [
    ("schema", "other", "does not say schema 'geodesic.result'"),
    ("version", 2, "of version 2"),
    ("seed", "0", "seed is str, expected int"),
    ("seed", True, "seed is bool, expected int"),
    ("protocol", [], "protocol is list, expected an object"),
    ("protocol.complete", 1, "protocol.complete is int, expected bool"),
    ("selection.rule", "luck", "selection.rule 'luck' is not one of last"),
    ("metrics", {}, "holds no metric"),
    ("metrics.recall@1", 0.7, "metric 'recall@1' is float"),
    ("metrics.recall@1.value", None, "value is None, expected a finite number"),
    ("metrics.recall@1.low", float("nan"), "low is nan"),
    ("definitions", {}, "metric 'recall@1' has no definition"),
    ("wall_clock_seconds", "fast", "expected a number"),
])
def test_a_foreign_record_is_refused_in_one_line(path, value, problem, tmp_path):
    file = tmp_path / "record.json"
    file.write_text(json.dumps(changed(GOOD, path, value)))
    with pytest.raises(ValueError, match="is no result record of version 1") as error:
        record.read(str(file))
    assert problem in str(error.value) and "\n" not in str(error.value)


def test_a_field_that_is_missing_is_named(tmp_path):
    file = tmp_path / "record.json"
    file.write_text(json.dumps({key: value for key, value in GOOD.items() if key != "code"}))
    with pytest.raises(ValueError, match="code is missing"):
        record.read(str(file))
    file.write_bytes(b"\xff\x00")
    with pytest.raises(ValueError, match="not JSON"):
        record.read(str(file))
    with pytest.raises(FileNotFoundError, match="writes one"):
        record.read(str(tmp_path / "none.json"))


def test_unknown_intervals_and_later_fields_are_admitted(tmp_path):
    measured = changed(changed(GOOD, "metrics.recall@1.low", None), "later", {"more": 1})
    assert record.read(record.write(str(tmp_path), measured)) == measured


def test_a_record_selected_on_test_does_not_replace_an_honest_one(tmp_path):
    honest = changed(GOOD, "selection.rule", record.LAST)
    assert record.write(str(tmp_path), honest).endswith("cub200.json")
    assert record.write(str(tmp_path), GOOD).endswith("cub200.selected_on_test.json")
    assert len(record.find(str(tmp_path))) == 2


def test_the_command_can_be_typed_again(monkeypatch):
    typed = ["--workdir=my runs/a", "--config.test_data.classes=(0, 3)", "--config.test_data.path=it's $HOME"]
    monkeypatch.setattr("sys.argv", ["/anywhere/experiments/evaluate.py", *typed])
    assert record.command().startswith("geodesic evaluate '--workdir=my runs/a' ")
    assert shlex.split(record.command()) == ["geodesic", "evaluate", *typed]
