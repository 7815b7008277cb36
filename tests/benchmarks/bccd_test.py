"""BCCD's table: which runs count, and what its cells say."""

import json
import pathlib

import numpy as np
import pytest

from benchmarks import bccd, turns


def run_of(folder, ended="finished", seconds=0.0, intervals=True):
    (folder / "run").mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps({"seconds": seconds}))
    (folder / "run" / "goodput.json").write_text(json.dumps({"ended": ended, "seconds": {"steps": 90, "start": 30}}))
    lines = [{"step": 1, "loss": 2.0}, {"step": 5, "ap": 0.1, "ap50": 0.2, "ap75": 0.1},
             {"step": 9, "ap": 0.5, "ap50": 0.8, "ap75": 0.6}]
    (folder / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if intervals:
        (folder / "run" / "evaluation.json").write_text(json.dumps({
            "detection": {"metrics": {name: {"value": 0.5, "low": 0.4, "high": 0.6} for name in bccd.METRICS}},
            "environment": {"devices": "1 x cpu", "machine": "a machine", "packages": {"jax": "0.10.2"},
                            "date": "2026-11-26T10:00:00+00:00", "commit": "abc"}}))
    return bccd.scores(folder)


def test_a_run_that_came_to_its_end_counts_by_its_last_evaluation(tmp_path):
    found = run_of(tmp_path / "a", seconds=240.0)
    assert found["scores"] == {"ap": 0.5, "ap50": 0.8, "ap75": 0.6}
    assert found["minutes"] == 4 and found["intervals"]["ap"] == (0.4, 0.6)
    cut = run_of(tmp_path / "b", intervals=False)  # its sweep was ended before it was told of the end
    assert cut["scores"] == found["scores"] and cut["minutes"] == 2 and "intervals" not in cut
    assert run_of(tmp_path / "c", ended="") is None and bccd.scores(tmp_path / "nothing") is None


def test_where_nothing_has_ended_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bccd", f"--workdir={tmp_path}", f"--out={tmp_path}/out"])
    with pytest.raises(SystemExit, match="no run of --sweep=bccd has ended below"):
        bccd.main()
    assert not (tmp_path / "out.md").exists()


def test_the_page_has_the_mean_over_seeds_or_the_interval_over_images(tmp_path):
    one = run_of(tmp_path / "a")
    other = one | {"scores": {"ap": 0.7, "ap50": 0.8, "ap75": 0.6}}
    text = bccd.page({"trunks": {"one": {"0": one}, "two": {"0": one, "1": other}}})
    assert "| one | 0.500 [0.400, 0.600] | 0.800 [0.400, 0.600] |" in text
    assert "| two | 0.600 [-0.671, 1.871] |" in text  # t of one degree of freedom, 12.706, times .1
    assert "1 x cpu, a machine, jax 0.10.2, 2026-11-26, abc" in text and "rf100" not in text


@pytest.mark.parametrize(("start", "part", "label"), [
    ("| `bccd` |", "trunks", "ImageNet, frozen"), ("| `bccd`, without", "trunks", "untrained, frozen"),
    ("| `bccd`, `init_from` a run", "trunks", "ArcFace, frozen"), ("| `bccd:tuned` |", "trunks", "ImageNet, tuned"),
    ("| `bccd`, trained on 255", "rf100", "ImageNet, frozen")])
def test_the_detection_page_has_the_results_figures(start, part, label):
    (line,) = [line for line in (pathlib.Path(turns.RESULTS).parents[1] / "docs" / "detection.md").read_text()
               .splitlines() if line.startswith(start)]
    seeds = json.loads((turns.RESULTS / "bccd_trunks.json").read_text())[part][label].values()
    cells = [cell.strip() for cell in line.split("|")[3:6]]
    assert cells == [f"{np.mean([one['scores'][name] for one in seeds]):.3f}"[1:] for name in bccd.METRICS]
