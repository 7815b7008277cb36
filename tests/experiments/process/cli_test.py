"""Adds two numbers.

    geodesic add --first=1
"""

import importlib.util
import re
import signal
import subprocess
import sys

import pytest
from absl import flags

from geodesic.configs import stored
from geodesic.errors import UserError
from geodesic.experiments.process import cli


@pytest.fixture
def run(monkeypatch):
    """Runs a program with these words on its command line; what its main was given, once it has ended well."""

    def start(*words, main=None, **options):
        given = []
        monkeypatch.setattr(sys, "argv", ["program", *map(str, words)])

        def note(config, values, *arguments):
            given.extend([config, values.workdir, *arguments])

        with pytest.raises(SystemExit) as ended:
            cli.run(main or note, **{"required": (), **options})
        assert ended.value.code in (None, 0), ended.value.code
        return given

    return start


def refused(run, *words, **options) -> str:
    with pytest.raises(AssertionError) as error:
        run(*words, **options)
    line = str(error.value).splitlines()[0]
    assert line.startswith("error: ")
    return line


def fails_with(error):
    def main(*_):
        raise error

    return main


@pytest.mark.parametrize("error", [UserError("two\n  lines"), FileNotFoundError("two lines")])
def test_a_users_error_is_one_line(run, error):
    assert refused(run, main=fails_with(error)) == "error: two lines"


@pytest.mark.parametrize("error", [ValueError("ours"), KeyError("ours"), FloatingPointError("ours")])
def test_a_defect_keeps_its_traceback(run, error):
    with pytest.raises(type(error), match="ours"):
        run(main=fails_with(error))


def test_a_librarys_error_does_too(run):
    import numpy as np

    with pytest.raises(ValueError, match="could not be broadcast"):
        run(main=lambda *_: np.zeros(3) + np.zeros(4))


def test_errors_are_told_apart_in_an_installed_package_too(run, tmp_path):
    """An installed package lies in site-packages, and may come without its source."""
    path = tmp_path / "site-packages" / "installed.py"
    path.parent.mkdir()
    path.write_text("from geodesic.errors import UserError\n\ndef main(*_):\n    raise UserError('no such run')\n")
    spec = importlib.util.spec_from_file_location("installed", path)
    installed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installed)
    path.unlink()
    assert refused(run, main=installed.main) == "error: no such run"


def test_where_an_error_was_raised_is_shown_on_demand(run):
    with pytest.raises(UserError, match="no such run"):
        run("--traceback", main=fails_with(UserError("no such run")))


@pytest.mark.parametrize("error", [UserError("known"), ZeroDivisionError()])
def test_where_1_is_an_answer_an_error_of_any_kind_is_another_status(error, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["program", "one", "other"])
    with pytest.raises(SystemExit) as ended:
        cli.run(fails_with(error), required=(), takes="IMAGE IMAGE", error_status=2)
    assert ended.value.code == 2
    assert ("Traceback" in capsys.readouterr().err) == isinstance(error, ZeroDivisionError)


CRASH = """
import ctypes
from geodesic.experiments.process import cli
def crash(config, values):
    ctypes.string_at(0)
cli.run(crash, required=())
"""


def test_native_code_that_crashes_says_where():
    done = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True)
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr and "in crash" in done.stderr


@pytest.mark.parametrize("words", [
    ("--config=quickstart", "--workdir=runs/x", "--config.seed=3"),
    ("--config", "quickstart", "--workdir", "runs/x", "--config.seed", "3"),
    ("-config", "quickstart", "-workdir", "runs/x", "-config.seed", "3"),
    ("-config=quickstart", "-workdir=runs/x", "-config.seed=3"),
    ("--config.seed=3", "--workdir=runs/x", "--config=quickstart"),  # in whatever order
    ("--config=omniglot", "--config=quickstart", "--workdir=y", "--workdir=runs/x", "--config.seed=3"),
])
def test_forms_of_a_value(run, words):
    config, workdir = run(*words)
    assert (config.seed, workdir) == (3, "runs/x") and config.train_data.name == "orl_faces"


def test_forms_of_a_bool(run):
    flips = lambda *words: run("--config=quickstart", *words)[0].evaluation.average_horizontal_flips
    assert flips("--config.evaluation.average_horizontal_flips")
    assert flips("--config.evaluation.average_horizontal_flips", "--workdir=x")
    assert not flips("--config.evaluation.average_horizontal_flips", "--noconfig.evaluation.average_horizontal_flips")
    assert not flips("--config.evaluation.average_horizontal_flips=false")


def test_negative_numbers(run):
    assert run("--config=quickstart", "--config.seed", "-2", "--config.seed", "-1")[0].seed == -1


def test_arguments_without_a_name(run):
    config, _, arguments = run("a.png", "--config=quickstart", "b.png", "--", "-c.png", takes="IMAGE")
    assert config is not None and arguments == ["a.png", "b.png", "-c.png"]


def test_a_file_of_flags(run, tmp_path):
    (tmp_path / "flags").write_text("--config=quickstart\n--config.seed=5\n")
    assert run(f"--flagfile={tmp_path / 'flags'}")[0].seed == 5


def test_an_option_without_its_value(run):
    assert "Missing value for flag --workdir" in refused(run, "--workdir")


def test_an_unexpected_argument_is_refused(run):
    assert "unexpected argument 'configs/quickstart.py'" in refused(run, "configs/quickstart.py")


@pytest.mark.parametrize("word", ["--lr=3", "--lr"])
def test_an_unknown_flag(run, word):
    assert "Unknown command line flag 'lr'" in refused(run, word, "3")


@pytest.mark.parametrize("form", [("--config.test_data.classes={}",), ("--config.test_data.classes", "{}")])
def test_a_tuple_given_twice(run, form):
    words = [word.format(value) for value in ("(2,3)", "(1,3)") for word in form]
    assert tuple(run("--config=quickstart", *words)[0].test_data.classes) == (1, 3)


def test_a_number_given_twice(run):
    assert run("--config=quickstart", "--config.seed=1", "--config.seed=2")[0].seed == 2


def test_the_stored_configuration_of_a_run(run, tmp_path):
    from geodesic.configs import quickstart
    from geodesic.experiments.process import workdir

    config = quickstart.get_config()
    config.seed = 7
    workdir.write_json(workdir.config_path(str(tmp_path)), stored.as_dict(config))
    for words in ((f"--workdir={tmp_path}",), ("--workdir", tmp_path)):
        found = run(*words, "--config.batch_size=8")[0]
        assert (found.seed, found.batch_size) == (7, 8)
    assert run(f"--config=stored:{tmp_path}/config.json")[0].seed == 7
    assert run(f"--workdir={tmp_path}", "--config=quickstart")[0].seed == 0  # a given one goes first
    assert run(f"--workdir={tmp_path}", configured=False)[0] is None


@pytest.mark.parametrize(("words", "line"), [
    (("--config=quikstart",), "no configuration 'quikstart'"),
    (("--config=",), "no configuration ''"),
    (("--workdir=/nowhere",), "no run in '/nowhere' (it has no config.json)"),
    (("--config.seed=1",), "--config.seed sets a field of a configuration, and there is none"),
    (("--config=quickstart", "--config.loss.arcface.margn=0.3"),
     "the configuration has no field 'margn'. Did you mean \"margin\" instead of \"margn\"?"),
    (("--config=quickstart", "--config.lerning=1"), "the configuration has no field 'lerning'"),
    (("--config=quickstart", "--config.batch_size=many"), "batch_size"),
    (("--config=quickstart", "--config.train_data.path"), "Missing value for flag --config.train_data.path"),
    (("--cpu_devices=many",), "cpu_devices"),
])
def test_what_cannot_be_used_is_one_line(run, words, line):
    assert line in refused(run, *words)


def test_a_required_flag(run):
    assert refused(run, required=("config",)) == "error: --config=... is required"
    assert refused(run, "--config=quickstart", required=("workdir",)) == "error: --workdir=... is required"


def test_a_file_that_gives_no_configuration(run, tmp_path):
    (tmp_path / "c.py").write_text("def get_config():\n    return {}\n")
    assert "c.py returns a dict" in refused(run, f"--config={tmp_path / 'c.py'}")


def test_a_files_own_error_is_not_taken_for_a_misspelt_field(run, tmp_path):
    (tmp_path / "c.py").write_text("MARGINS = {'small': 0.3}\n\ndef get_config():\n    return MARGINS['large']\n")
    assert refused(run, f"--config={tmp_path / 'c.py'}") == f"error: {tmp_path / 'c.py'}:4: KeyError: 'large'"


def define_flags() -> None:
    flags.DEFINE_integer("first", 1, "A number.")
    flags.DEFINE_enum("rounding", "", ["", "up", "down"], "How to round.")
    flags.DEFINE_bool("exact", True, "Do not round.")
    flags.DEFINE_list("names", [], "Names.")


def add(config, values):
    raise AssertionError("--help starts nothing")


HELP = re.compile(r"^  (--[^\s=]+)", re.MULTILINE)


def test_help_shows_every_flag_once_and_no_librarys(run, capsys):
    run("--help", main=add, define_flags=define_flags, required=("first",))
    text = capsys.readouterr().out
    # Python 3.13 takes the indentation of docstrings away.
    assert re.match("Adds two numbers.\n\n( {4})?geodesic add --first=1\n\nOf this program:\n", text)
    assert "  --first=N\n      A number. (required)\n  --rounding=up|down\n      How to round.\n  --[no]exact\n" in text
    assert HELP.findall(text) == [
        "--first", "--rounding", "--[no]exact", "--names", "--config", "--config.FIELD", "--workdir",
        "--cpu_devices", "--allow_cpu", "--traceback", "--helpfull", "--coordinator_address", "--num_processes",
        "--process_id"]
    assert text.count("--config.") == 4 and "configs/default.py" in text  # the rule, and three examples of it


def test_the_examples_of_help_are_fields(run, capsys):
    run("--help", main=add)
    examples = re.findall(r"^ {8}(--config\.\S+)", capsys.readouterr().out, re.MULTILINE)
    assert len(examples) == 3
    config, _ = run("--config=quickstart", *(example.replace("'", "") for example in examples))
    assert (config.loss.arcface.margin, config.train_data.path) == (0.4, "photos")


def test_help_of_a_program_without_a_configuration(run, capsys):
    run("-h", main=add, configured=False)
    assert "--config" not in capsys.readouterr().out


def test_help_comes_before_any_complaint(run, capsys):
    run("--help", "--nonsense", "--config=nowhere", main=add)
    assert "--workdir" in capsys.readouterr().out


def test_no_flag_is_left_behind(run):
    before = {*flags.FLAGS}
    run("--config=quickstart", "--config.seed=1", "--first=2", define_flags=define_flags)
    assert {*flags.FLAGS} == before
    assert "--first" in refused(run, "--first=many", define_flags=define_flags)
    assert {*flags.FLAGS} == before


@pytest.mark.parametrize("words, line", [
    (["--workdir=hdfs://host/run"], "error: --workdir=hdfs://host/run: there is no storage hdfs://"),
    (["--out=file:///tmp/x.parquet"], "error: --out=file:///tmp/x.parquet: there is no storage file://"),
    (["--config=quickstart", "--config.init_from", "hf://weights"], "error: --config.init_from=hf://weights: "),
    (["--config=quickstart", "--config.train_data.path=http://host/x"], "error: --config.train_data.path=http://host/x"),
    (["--workdir=gs:/bucket/run"], "error: --workdir=gs:/bucket/run: expected gs://BUCKET/FOLDER"),
    (["ftp://host/one.jpg"], "error: ftp://host/one.jpg: there is no storage ftp://"),
    (["--out=gs://bucket/x.parquet"], "error: --out=gs://bucket/x.parquet: expected a file or folder of this machine")])
def test_a_place_that_cannot_be_reached_is_refused_before_anything_is_read(run, words, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    define = lambda: flags.DEFINE_string("out", "", "A file.")
    assert refused(run, *words, define_flags=define, takes="FILE", buckets=("workdir",)).startswith(line)
    assert not any(tmp_path.iterdir())


def test_a_url_of_a_service_is_no_place(run):
    define = lambda: flags.DEFINE_string("storage", "", "A database.")
    assert run("--storage=mysql://host/name", define_flags=define)[1] == ""
