import sys

import pytest

from geodesic.experiments.process import cli


def raised(function):
    try:
        function()
    except Exception as error:
        return error


def test_an_error_of_this_projects_own_is_recognised():
    from geodesic import losses

    assert cli._raised_here(raised(lambda: losses.build("nope", num_classes=2)))


def test_an_error_from_a_librarys_depth_is_not():
    import jax.numpy as jnp

    assert not cli._raised_here(raised(lambda: jnp.zeros(3).reshape(2)))


def test_an_error_of_numpy_called_here_is_not():
    import numpy as np

    assert not cli._raised_here(raised(lambda: np.zeros(3) + np.zeros(4)))


def test_a_stored_configuration_comes_before_the_overrides(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    argv = cli._with_stored_config(["program", f"--workdir={tmp_path}", "--config.seed=3"])
    assert argv[1].endswith(f"configs/stored.py:{tmp_path}/config.json")
    assert argv[2:] == [f"--workdir={tmp_path}", "--config.seed=3"]


def test_a_given_configuration_is_left_alone(tmp_path):
    argv = ["program", f"--workdir={tmp_path}", "--config=configs/quickstart.py"]
    assert cli._with_stored_config(argv) == argv


@pytest.mark.parametrize(("error", "text"), [
    (AttributeError("'\\'margn\\'\\nDid you mean \"margin\" instead of \"margn\"?'"),
     "the configuration has no field 'margn'. Did you mean \"margin\" instead of \"margn\"?"),
    (ValueError("two\n  lines"), "two lines"),
])
def test_errors_are_one_line(error, text):
    line = cli._flag_error(error)
    assert "\n" not in line
    assert line == text


def test_an_unexpected_argument_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", "configs/quickstart.py"])
    with pytest.raises(SystemExit, match="unexpected argument 'configs/"):
        cli.run(lambda config, flags: None)


@pytest.mark.parametrize(("error", "status"), [(ValueError("known"), 2), (ZeroDivisionError(), 2)])
def test_where_1_is_an_answer_an_error_of_any_kind_is_another_status(error, status, monkeypatch, capsys):
    def main(config, flags, arguments):
        assert arguments == ["one", "other"]
        raise error

    monkeypatch.setattr(sys, "argv", ["program", "one", "other"])
    with pytest.raises(SystemExit) as exit_:
        cli.run(main, required=(), takes="IMAGE IMAGE", error_status=2)
    assert exit_.value.code == status
