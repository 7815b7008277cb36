import pytest

from geodesic.experiments.sweeping import running, search, trials
from tests.experiments.sweeping.sweeps import write


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(running, "PROGRAMS", (("tests.experiments.sweeping.fake_program",),))


def load(tmp_path, **fields):
    text = ", ".join(f"{name}={value}" for name, value in fields.items())
    return trials.load_sweep(write(tmp_path / "sweep.py", (), extra=(
        f"search=sweeps.Search({{'loss.arcface.margin': sweeps.Range(0.1, 0.5)}}, {text})")))


def run(sweep, tmp_path, stop=None) -> tuple[str, list]:
    ended = []
    best = search.run(sweep, str(tmp_path / "runs"), "", 1, 0.0, stop or running.Stop(),
                      lambda trial, record: ended.append((trial, record["state"])))
    return best, ended


def test_a_search_ends_with_the_best_and_goes_on_where_it_stopped(tmp_path):
    stop = running.Stop()
    ended = []

    def stop_after_three(trial, record):
        ended.append(trial)
        if len(ended) == 3:  # between the two seeds of the second point
            stop.ask()

    first = search.run(load(tmp_path, trials=4), str(tmp_path / "runs"), "", 1, 0.0, stop, stop_after_three)
    assert len(ended) == 3 and "map@r" in first
    best, rest = run(load(tmp_path, trials=4), tmp_path)
    points = search.points(load(tmp_path, trials=4), str(tmp_path / "runs"), "")
    assert len(points) == 4 and len({trial.folder for trial in ended} | {trial.folder for trial, _ in rest}) == 8
    largest = max(point["loss.arcface.margin"] for point in points)
    assert best == f"map@r {largest + 0.005:.4f} at margin={largest:.4g}"
    assert run(load(tmp_path, trials=4), tmp_path) == (best, [])


@pytest.mark.slow
def test_poor_trials_are_pruned(tmp_path):
    _, ended = run(load(tmp_path, trials=12, warmup_reports=0), tmp_path)
    states = [state for _, state in ended]
    assert states.count("done") >= 10  # the first five points, with both seeds
    assert "failed" not in states


def test_two_searches_in_one_folder(tmp_path):
    (tmp_path / "runs").mkdir()
    with search._alone(str(tmp_path / "runs")), pytest.raises(ValueError, match="another search runs in"):
        run(load(tmp_path, trials=1), tmp_path)
