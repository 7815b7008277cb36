"""What programs are asked alike is understood, and refused, in one way."""

import types

import pytest

from geodesic.errors import UserError
from geodesic.experiments.reporting import asked


def values(**given):
    return types.SimpleNamespace(**dict(images="", source="", path="", format="", out="", sheet="") | given)


@pytest.mark.parametrize(("given", "out", "expected"), [
    ("", "", "table"), ("", "a.csv", "csv"), ("", "a.json", "json"), ("", "a.txt", "table"), ("json", "a.csv", "json")])
def test_the_form_is_the_one_asked_for_or_the_files(given, out, expected):
    assert asked.form_of(values(format=given, out=out)) == expected


@pytest.mark.parametrize(("given", "line"), [
    ({}, "--images=... is required, or --source"), ({"images": "a", "source": "npz"}, "and not both"),
    ({"images": "a", "path": "b"}, "--path needs --source")])
def test_pictures_are_asked_for_in_one_way(given, line):
    with pytest.raises(UserError, match=line):
        asked.check_pictures(values(**given))
    if not given:
        asked.check_pictures(values(), required=False)
    asked.check_pictures(values(source="npz", path="b"))


def test_a_sheet_is_a_picture_or_a_page():
    for name in ("", "a.png", "a.html"):
        asked.check_sheet(values(sheet=name))
    with pytest.raises(UserError, match=r"--sheet is a \.png or a \.html file; got 'a\.jpg'"):
        asked.check_sheet(values(sheet="a.jpg"))


@pytest.mark.parametrize(("form", "out", "beside"), [("table", "", False), ("csv", "", True), ("csv", "a.csv", False)])
def test_lines_stand_beside_what_is_printed_for_programs(form, out, beside, capsys):
    asked.say_beside(form, out)("a line")
    told = capsys.readouterr()
    assert (told.err if beside else told.out) == "a line\n" and not (told.out if beside else told.err)


def test_pictures_come_from_a_path_or_a_source():
    with pytest.raises(FileNotFoundError, match="no image 'nowhere'"):
        asked.pictures(values(images="nowhere"))
    with pytest.raises(UserError, match="unknown source 'nothing'"):
        asked.pictures(values(source="nothing", path="x"))
    assert asked.which(values(source="npz", path="x")) == "x" and asked.which(values(source="orl_faces")) == "orl_faces"
