import glob

import pytest

from geodesic.configs import quickstart, stored, sweeps
from geodesic.errors import UserError
from geodesic.experiments.sweeping import trials
from tests.experiments.sweeping.sweeps import write


def made(axes, **options) -> list[trials.Trial]:
    return trials.expand(sweeps.sweep(config="configs/quickstart.py", axes=axes, **options), "runs")


def test_axes_multiply_and_a_trial_is_named_by_its_configuration():
    margins = sweeps.grid({"loss.arcface.margin": (0.3, 0.5)})
    losses = sweeps.zipped({"loss.name": ("arcface", "cosface"), "batch_size": (8, 16)})
    found = made([margins, losses], seeds=(0, 1), common={"num_epochs": 3})
    assert [trial.label for trial in found[::2]] == [
        "margin=0.3, name=arcface, batch_size=8", "margin=0.3, name=cosface, batch_size=16",
        "margin=0.5, name=arcface, batch_size=8", "margin=0.5, name=cosface, batch_size=16"]
    last = found[-1]
    assert (last.config.loss.arcface.margin, last.config.loss.name, last.config.batch_size, last.config.seed,
            last.config.num_epochs) == (0.5, "cosface", 16, 1, 3)
    assert last.folder == f"runs/trials/{stored.hash_of(last.config)}"
    assert len({trial.folder for trial in found}) == 8


def test_another_value_leaves_the_other_trials_where_they_are():
    few = made([sweeps.grid({"loss.arcface.margin": (0.3, 0.5)})])
    more = made([sweeps.grid({"loss.arcface.margin": (0.5, 0.4, 0.3)})])
    assert {trial.folder for trial in few} < {trial.folder for trial in more}


def test_how_a_run_is_watched_does_not_name_it():
    one, other = (made([], common={"run.log_every_steps": steps})[0].folder for steps in (1, 2))
    assert one == other


def test_points_that_come_to_the_same_run_once():
    assert len(made([[{"label": "default"}, {"label": "the same", "loss.arcface.margin": 0.5}]],
                    common={"loss.arcface.margin": 0.5})) == 1


def test_a_value_that_does_not_fit_is_the_trials_own_problem():
    good, bad = made([sweeps.grid({"loss.arcface.margin": (0.3, "wide")})])
    assert not good.problem and bad.config is None
    assert bad.problem == "loss.arcface.margin takes float, got 'wide'"


@pytest.mark.parametrize(("call", "message"), [
    (lambda: made([sweeps.grid({"loss.arcface.margn": (0.3,)})]), "no field 'loss.arcface.margn'"),
    (lambda: made([sweeps.grid({"los.margin": (0.3,)})]), "no field 'los.margin'"),
    (lambda: made([[{"label": "a", "batch_size": 8}, {"label": "a", "batch_size": 16}]]), "both called 'a'"),
    (lambda: made([sweeps.grid({"batch_size": (8,)})] * 2), "two axes of the sweep set batch_size"),
    (lambda: made([], seeds=(1, 1)), r"each once; got \(1, 1\)"),
    (lambda: sweeps.zipped({"a": (1, 2), "b": (1,)}), "as many values each"),
])
def test_a_sweep_that_contradicts_itself(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_drawn_points_depend_on_the_seed_alone():
    space = {"optimizer.learning_rate": sweeps.Range(1e-4, 1e-1, log=True),
             "num_epochs": sweeps.Range(2, 5, integer=True), "loss.name": ("arcface", "cosface")}
    points = sweeps.sampled(200, 3, space)
    assert points == sweeps.sampled(200, 3, space) != sweeps.sampled(200, 4, space)
    rates = sorted(point["optimizer.learning_rate"] for point in points)
    assert 1e-4 <= rates[0] and rates[-1] <= 1e-1 and 1e-3 < rates[100] < 1e-2  # the median in the logarithm's middle
    assert {point["num_epochs"] for point in points} == {2, 3, 4, 5}
    assert {point["loss.name"] for point in points} == {"arcface", "cosface"}


@pytest.mark.parametrize("path", sorted(glob.glob("configs/sweeps/[a-z]*.py")))
def test_the_sweeps_that_come_with_the_code(path):
    sweep = trials.load_sweep(path)
    found = trials.expand(sweep, "runs")
    assert found and not any(trial.problem for trial in found)
    assert not sweep.baseline or sweep.baseline in {trial.label for trial in found}


def test_files_of_sweeps(tmp_path):
    path = write(tmp_path / "s.py", (0.1, 0.2))
    assert trials.load_sweep(path).seeds == (0, 1)
    with pytest.raises(UserError, match=r"get_sweep\(\) takes 0 positional arguments but 1 was given"):
        trials.load_sweep(f"{path}:more")
    with pytest.raises(UserError, match=r"no sweep 'nowhere\.py'"):
        trials.load_sweep("nowhere.py")
    with pytest.raises(UserError, match=r"has no get_sweep"):
        trials.load_sweep(quickstart.__file__)


def test_a_sweep_and_its_configuration_by_name_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name = trials.expand(trials.load_sweep(write(tmp_path / "s.py", (0.3,), config="quickstart")), "runs")
    by_path = trials.expand(trials.load_sweep(write(tmp_path / "s.py", (0.3,), config=quickstart.__file__)), "runs")
    assert [trial.folder for trial in by_name] == [trial.folder for trial in by_path]
    of_row = write(tmp_path / "s.py", (0.3,), config="papers/omniglot:background")
    assert trials.expand(trials.load_sweep(of_row), "runs")[0].config.paper == "omniglot:background"
    assert len(trials.expand(trials.load_sweep("margins"), "runs")) == 40


def test_an_error_in_a_file_is_told_as_it_is(tmp_path):
    """Not as a missing get_sweep(), nor as a field that does not exist."""
    sweep = tmp_path / "s.py"
    sweep.write_text("from geodesic.configs import sweeps\n\n\ndef get_sweep():\n"
                     "    return sweeps.sweep(config='quickstart', axes=[sweeps.grdi({})])\n")
    with pytest.raises(UserError, match=rf"^{sweep}:5: AttributeError: module 'geodesic.configs.sweeps' has no.*grdi"):
        trials.load_sweep(str(sweep))
    config = tmp_path / "c.py"
    config.write_text("MARGINS = {}\n\n\ndef get_config():\n    return MARGINS['large']\n")
    with pytest.raises(UserError, match=rf"^{config}:5: KeyError: 'large'$"):
        trials.expand(trials.load_sweep(write(sweep, (0.3,), config=str(config))), "runs")
