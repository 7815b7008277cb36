import json
import sys

import pytest

from benchmarks import augmentations, turns
from tests.datasets import images


def test_ratios_are_of_one_round():
    found = {"plain": {"per_core": [100.0, 200.0]}, "other": {"per_core": [50.0, 50.0]}}
    assert augmentations.ratios(found) == {"plain": [1, 1], "other": [0.5, 0.25]}


def test_a_case_answers_with_its_rates(tmp_path, monkeypatch, capsys):
    folder = images.make_folder(tmp_path / "photos", 2, 3)
    monkeypatch.setattr(sys, "stdin", iter(["64\n"]))
    augmentations.serve(str(folder), augmentations.CASES["cutmix"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["per_core"] > 0 and answer["per_second"] > 0


def test_the_page_names_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(turns, "asked", lambda processes, *_: [process.kill() for process in processes.values()] and {
        name: {"per_core": [100.0 - place], "per_second": [1.0]} for place, name in enumerate(processes)})
    monkeypatch.setattr(sys, "argv", ["x", f"--photos={tmp_path}", f"--out={tmp_path / 'out'}"])
    augmentations.main()
    page = (tmp_path / "out.md").read_text()
    assert all(f"| {name} |" in page for name in augmentations.CASES) and "| 0.99 (0.99 to 0.99) |" in page
    assert json.loads((tmp_path / "out.json").read_text())["rounds"] == 5


def test_photos_are_required(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", f"--out={tmp_path / 'out'}"])
    with pytest.raises(SystemExit, match="--photos=FOLDER_OR_ZIP is required"):
        augmentations.main()
