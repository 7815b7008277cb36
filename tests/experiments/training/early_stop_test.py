import signal

import pytest

from geodesic.configs import default
from geodesic.errors import UserError
from geodesic.experiments import train
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import goodput, progress
from geodesic.experiments.training import early_stop
from tests.experiments import tiny
from tests.experiments.train_test import StopAt, one_device  # noqa: F401


def options(*early):
    chosen = default.get_config().evaluation
    chosen.early_stop = early
    return chosen


def reason(scores, name="map@r", patience=2):
    return early_stop.reason(options(name, patience), [{"step": 10 * place, name: score}
                                                       for place, score in enumerate(scores)])


@pytest.mark.parametrize(("scores", "ends"), [
    ([0.1, 0.2, 0.3, 0.4], False), ([0.4, 0.3], False), ([0.4, 0.3, 0.35], True), ([0.4, 0.4, 0.4], True),
    ([0.4, 0.3, 0.5, 0.4], False), ([0.4, float("nan"), 0.3], True), ([float("nan")] * 2, True), ([], False)])
def test_a_score_that_is_not_better_for_so_long(scores, ends):
    assert bool(reason(scores)) == ends


def test_an_error_rate_is_better_when_it_is_lower():
    assert reason([0.4, 0.3, 0.2], "eer") == ""
    assert reason([0.2, 0.3, 0.4], "eer") == "eer has not been better than 0.2000, of step 0, in 2 evaluations"


def test_evaluations_without_the_score_do_not_count():
    records = [{"step": 0, "map@r": 0.5}, {"step": 1, "top1": 0.1}, {"step": 2, "top1": 0.1}, {"step": 3, "map@r": 0.4}]
    assert early_stop.reason(options("map@r", 2), records) == ""


@pytest.mark.parametrize(("early", "told"), [
    (("map@r", 0), "expected a score and a number of evaluations"), (("map@r",), "expected a score"),
    (("top1", 3), "'top1' is not a score of the evaluation; known: map@r, eer"),
    (("eer", 3), "'eer' is evaluated only after the last step: give --config.evaluation.every_epochs")])
def test_what_never_comes_again_is_refused(early, told):
    with pytest.raises(UserError, match=told):
        early_stop.check(options(*early), {"map@r": 5, "eer": 0})


def test_nothing_is_the_default():
    early_stop.check(options(), {})
    assert early_stop.reason(options(), [{"step": 1, "map@r": 0.0}] * 9) == ""


def digests(folder):
    with checkpoint.Checkpoints(str(folder)) as checkpoints:
        _, record = checkpoints.read(lambda name: name == "step")
        return record["step"], record["digests"]


def test_a_run_ends_where_it_would_have_ended_however_often_it_is_stopped(one_device, tmp_path, capsys):  # noqa: F811
    """The score is 1 from the start, so the third evaluation, of step 4, is the last one."""
    config = tiny.config(tiny.faces(tmp_path / "faces"), total_steps=20, evaluation__every_epochs=1.0,
                         optimizer__learning_rate=1e-6, evaluation__early_stop=("recall@1", 2))
    assert train.train(config, str(tmp_path / "whole"), StopAt()) == 0
    told = "recall@1 has not been better than 1.0000, of step 0, in 2 evaluations"
    assert f"stopped early at step 4: {told}" in capsys.readouterr().out
    assert digests(tmp_path / "whole")[0] == 4 and goodput.read(str(tmp_path / "whole"))["ended"] == "finished"
    folder = tmp_path / "stopped"
    for calls in (8, 9):  # in the second evaluation, and further on
        assert train.train(config, str(folder), StopAt(calls)) == 128 + signal.SIGTERM
    assert train.train(config, str(folder), StopAt()) == 0
    assert digests(folder) == digests(tmp_path / "whole")
    records = [[(record["step"], record.get("loss"), record.get("recall@1"))
                for record in progress.read_metrics(str(path))] for path in (folder, tmp_path / "whole")]
    assert records[0] == records[1]
    capsys.readouterr()
    assert train.train(config, str(folder), StopAt()) == 0
    assert f"is finished: 4 steps, stopped early: {told}. Nothing to do." in capsys.readouterr().out
