"""`geodesic PROGRAM`, as the console script starts it."""

import pathlib
import subprocess
import sys

import pytest

from geodesic import __main__ as command

EXPERIMENTS = pathlib.Path(command.__file__).parent / "experiments"


def geodesic(*words, cwd) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "geodesic", *words], cwd=cwd, capture_output=True, text=True,
                          timeout=120, check=False)


def test_the_programs_are_the_files_at_the_top_of_experiments():
    assert {*command.PROGRAMS} == {path.stem for path in EXPERIMENTS.glob("*.py")} - {"__init__"}


def test_help_has_all_of_them_in_order(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["geodesic", "--help"])
    command.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [line[0] for line in lines] == [*command.PROGRAMS] and all(len(line) > 3 for line in lines)


def test_an_unknown_program_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["geodesic", "trian"])
    with pytest.raises(SystemExit, match=r"error: there is no program 'trian'\. Did you mean train\?"):
        command.main()


def test_a_program_starts_in_any_folder_and_knows_its_name(tmp_path):
    done = geodesic("train", "--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("Trains an embedder") and not done.stderr
    assert done.stdout.count("\n  --workdir=") == done.stdout.count("\n  --config=FILE") == 1
    done = geodesic("train", "--config=quikstart", "--workdir=run", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: no configuration 'quikstart'") and "Did you mean quickstart" in done.stderr
    assert not list(tmp_path.iterdir())
