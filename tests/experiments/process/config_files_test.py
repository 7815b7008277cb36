import pathlib

import pytest

from geodesic.configs import default
from geodesic.errors import UserError
from geodesic.experiments.process import config_files

ROOT = pathlib.Path(default.__file__).parents[1]


@pytest.mark.parametrize(("name", "function", "path"), [
    ("quickstart", "get_config", "configs/quickstart.py"),
    ("templates/resnext", "get_config", "configs/templates/resnext.py"),
    ("papers/omniglot", "get_config", "configs/papers/omniglot.py"),
    ("stored", "get_config", "configs/stored.py"),
    ("margins", "get_sweep", "configs/sweeps/margins.py"),
])
def test_by_name_in_whatever_folder(name, function, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pathlib.Path(config_files.find(name, function)) == ROOT / path


def test_a_file_that_exists_is_taken_before_one_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    for name in ("quickstart", "own/c.py"):
        (tmp_path / name).touch()
        assert config_files.find(name, "get_config") == name
    (tmp_path / "grocery").mkdir()  # a folder is no such file
    assert config_files.find("grocery", "get_config").endswith("configs/grocery.py")


@pytest.mark.parametrize(("name", "function", "nearest"), [
    ("quikstart", "get_config", "quickstart"), ("templates/resnet", "get_config", "templates/resnext"),
    ("configs/quickstart.py", "get_config", "quickstart"), ("margin", "get_sweep", "margins"),
    ("configs/sweeps/margins.py", "get_sweep", "margins"),
])
def test_an_unknown_one_is_told_with_the_nearest_and_the_known(name, function, nearest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"no (configuration|sweep) '{name}'.*Did you mean {nearest}") as error:
        config_files.find(name, function)
    known = str(error.value).partition("(")[2].partition(")")[0].split(", ")
    assert nearest in known and all(config_files.find(one, function) for one in known)
    assert ("gradient_modes" in known) == (function == "get_sweep")


def write(tmp_path, text) -> str:
    (tmp_path / "file.py").write_text(text)
    return str(tmp_path / "file.py")


def test_what_the_function_returns(tmp_path):
    path = write(tmp_path, "def get_config(name='none'):\n    return name\n")
    assert config_files.call(path, "get_config") == "none" and config_files.call(path, "get_config", "row") == "row"


@pytest.mark.parametrize(("text", "told"), [
    ("MARGINS = {}\ndef get_config():\n    return MARGINS['large']\n", ":3: KeyError: 'large'"),
    ("import math\ndef get_config():\n    return help_()\n\ndef help_():\n    return math.squrt(2)\n",
     ":6: AttributeError: module 'math' has no attribute 'squrt'"),
    ("def get_config()\n", ":1: SyntaxError: expected ':'"),
    ("import nowhere\n", ":1: ModuleNotFoundError: No module named 'nowhere'"),
    ("1 / 0\n", ":1: ZeroDivisionError: division by zero"),
    ("def get_config(row):\n    return row\n", ": TypeError: get_config() missing 1 required positional argument"),
    ("", " has no get_config(): see configs/ for examples"),
])
def test_a_files_own_error_is_told_with_its_line(text, told, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        config_files.call(path, "get_config")
    assert str(error.value).startswith(path + told)


def test_what_it_says_to_the_user_passes_as_it_is(tmp_path):
    path = write(tmp_path, "from geodesic.errors import UserError\ndef get_config():\n    raise UserError('no row')\n")
    with pytest.raises(UserError, match=r"^no row$"):
        config_files.call(path, "get_config")
