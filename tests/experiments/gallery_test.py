"""`geodesic gallery`, every verb, with a tiny trained run: what is printed, written and refused."""

import csv
import io
import json
import re
import types

import PIL.Image
import pytest

import geodesic
from geodesic.errors import UserError
from geodesic.experiments import gallery
from geodesic.experiments.trained import thresholds
from tests.experiments import tiny

GIVEN = dict(images="", source="", path="", vectors="", k=10, threshold=None, far=0.0, index="", recall=0.95, probes=32,
             remove_vanished=False, pictures=True, format="", out="", sheet="")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    config = tiny.config(tiny.faces(folder / "faces", 3, 4), total_steps=1)
    geodesic.train(config, folder / "run")
    (folder / "faces" / "class1" / "0.jpg").write_bytes(b"\xff\xd8 broken")
    return geodesic.load(folder / "run")


@pytest.fixture(scope="module")
def faces(run):
    return run.workdir.removesuffix("run") + "faces"


@pytest.fixture
def do(run, tmp_path):
    """Runs a verb with these flags; names: of what is to be removed."""
    def do(verb, *names, **values):
        given = GIVEN | {"workdir": run.workdir, "gallery": str(tmp_path / "g")} | values
        return gallery.main(run.config, types.SimpleNamespace(**given), [verb, *names])

    return do


def test_from_nothing_to_a_name_for_a_picture(do, run, faces, tmp_path, capsys):
    assert do("create", images=faces, vectors="float16") == 0
    told = capsys.readouterr().out
    assert f"gallery in {tmp_path / 'g'}, of <geodesic run" in told and "vectors in float16" in told
    assert "skipped: cannot read the image" in told and f"11 added; 11 row(s) in {tmp_path / 'g'}" in told
    assert do("add", images=faces) == 0 and "0 added, 11 as they were; 11 row(s)" in capsys.readouterr().out
    one = f"{faces}/class2/1.jpg"
    assert do("search", images=one, k=3, threshold=-1.0, sheet=str(tmp_path / "found.html")) == 0
    told = capsys.readouterr()
    rows = [line.split("│") for line in told.out.splitlines() if line.startswith("│")]
    expected = [hit for hit in run.gallery(tmp_path / "g").search(one, k=3)[0].hits]
    assert [row[3].strip() for row in rows] == ["1", "2", "3"] and rows[0][2].strip() == expected[0].label
    assert [row[4].strip() for row in rows] == [f"{hit.cosine:.4f}" for hit in expected]
    assert "the nearest row has a cosine below -1.0000" in told.out and "pictures in" in told.err
    page = (tmp_path / "found.html").read_text()
    assert "a cosine below -1.0000; framed in green: at least that" in page
    assert page.count('<figure class="found hit"') == 3 and page.count('<figure class="found query"') == 1
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "$" not in re.sub(r"data:[^\"]*", "", page)
    do("search", images=f"{faces}/class2", k=2, threshold=1.1, sheet=str(tmp_path / "found.png"))
    assert capsys.readouterr().out.count("unknown") == 4 + 1 and PIL.Image.open(tmp_path / "found.png").size[0] > 300


def test_csv_json_and_files(do, run, faces, tmp_path, capsys):
    do("create", images=faces)
    capsys.readouterr()
    do("search", images=f"{faces}/class1", k=2, format="csv", threshold=0.5)
    told = capsys.readouterr()
    assert "skipped: cannot read the image" in told.err
    rows = [*csv.DictReader(io.StringIO(told.out))]
    assert len(rows) == 3 * 2 and {row["known"] for row in rows} <= {"yes", "no"}
    do("search", images=f"{faces}/class1", k=2, format="json")
    found = json.loads(capsys.readouterr().out)
    assert [hit["path"] for one in found["queries"] for hit in one["hits"]] == [row["path"] for row in rows]
    assert "no threshold" in found["unknown"] and found["queries"][0]["answer"] is None
    for name in ("rows.json", "rows.csv", "rows.txt"):
        do("list", workdir="", out=str(tmp_path / name))
    listed = json.loads((tmp_path / "rows.json").read_text())
    assert listed == run.gallery(tmp_path / "g").rows() and len(listed) == 11
    assert (tmp_path / "rows.csv").read_text().startswith("id,path,label,metadata,digest\n")
    assert "11 row(s)" in (tmp_path / "rows.txt").read_text() and "class0/0.jpg" in (tmp_path / "rows.txt").read_text()
    do("export", workdir="", out=str(tmp_path / "e.parquet"))
    assert "11 row(s) in" in capsys.readouterr().out and (tmp_path / "e.parquet").exists()


def test_removing_updating_compacting_and_checking(do, run, tmp_path, capsys):
    faces = tiny.faces(tmp_path / "faces", 2, 3)
    do("create", images=str(faces))
    assert do("remove", str(faces / "class0" / "1.jpg"), workdir="") == 0
    assert "1 row(s) removed, 5 left" in capsys.readouterr().out
    assert do("add", images=str(faces)) == 0
    assert do("remove", workdir="", images=str(faces / "class0" / "1.jpg")) == 0
    assert "1 row(s) removed, 5 left" in capsys.readouterr().out
    (faces / "class1" / "0.jpg").write_bytes((faces / "class1" / "1.jpg").read_bytes())
    (faces / "class0" / "2.jpg").unlink()
    assert do("check") == 0
    told = capsys.readouterr().out
    assert "changed: " in told and "vanished: " in told
    assert "5 row(s), 0 of them wrong; pictures: 3 as they were, 1 changed, 1 vanished" in told
    assert float(re.search(r"the least cosine of some is ([\d.]+)", told)[1]) > 0.9999
    do("update")
    told = capsys.readouterr().out
    assert "0 added, 1 embedded anew, as they had changed, 3 as they were; 5 row(s)" in told
    assert "their rows stay" in told
    do("update", remove_vanished=True)
    assert "0 added, 1 removed, 4 as they were; 4 row(s)" in capsys.readouterr().out
    assert do("compact", workdir="") == 0 and "4 row(s) in few files" in capsys.readouterr().out
    found = {row["path"]: row for row in run.gallery(tmp_path / "g").rows()}
    one, other = (found[str(faces / "class1" / name)]["digest"] for name in ("0.jpg", "1.jpg"))
    assert one == other


def test_another_layer_is_refused_and_migrated_to(do, run, faces, tmp_path, capsys):
    do("create", images=faces)
    other = geodesic.load(run.workdir, overrides={"evaluation.layer": "stage1"})
    capsys.readouterr()
    values = types.SimpleNamespace(**GIVEN, workdir=run.workdir, gallery=str(tmp_path / "g"))
    with pytest.raises(UserError, match="the layer '' there, 'stage1' here"):
        gallery.main(other.config, types.SimpleNamespace(**vars(values) | {"images": faces}), ["search"])
    assert gallery.main(other.config, values, ["migrate"]) == 0
    told = capsys.readouterr().out
    assert "11 row(s), now of" in told and float(re.search(r"10 nearest neighbours ([\d.]+) are", told)[1]) > 0
    assert other.gallery(tmp_path / "g").info["model"]["layer"] == "stage1" and do("list", workdir="") == 0


def test_the_threshold_of_calibrate_decides_who_is_unknown(do, run, faces, tmp_path, capsys):
    do("create", images=faces)
    calibration = thresholds.Calibration(1e-3, 2.0, (1, 3), 0, (0, 1), 0.5, (0, 1), 3, 9, 99, 9)
    thresholds.save(run.workdir, run.identity, calibration, {})
    try:
        capsys.readouterr()
        do("search", images=f"{faces}/class2/1.jpg", k=1)
        told = capsys.readouterr().out
        assert "unknown" in told.splitlines()[4] and "a cosine below 2.0000" in told
        do("create", gallery=str(tmp_path / "h"))
        assert run.gallery(tmp_path / "h").info["threshold"]["threshold"] == 2.0
    finally:
        (tmp_path.__class__(run.workdir) / "thresholds.json").unlink()


@pytest.mark.parametrize(("verb", "values", "told"), [
    ("", {}, "what is to be done"), ("serach", {}, "a gallery knows create, add, .*; got 'serach'"),
    ("add", {"workdir": "", "images": "x"}, "--workdir=... is required"), ("add", {}, "--images=... is required"),
    ("search", {"images": "a", "source": "npz"}, "and not both"),
    ("search", {"images": "nowhere"}, "no image 'nowhere'"),
    ("search", {"images": "a", "path": "b"}, "--path needs --source"),
    ("search", {"images": "a", "sheet": "a.jpg"}, r"--sheet is a \.png or a \.html file"),
    ("remove", {}, "what is to be removed"), ("export", {"out": "a.csv"}, r"is exported as a \.parquet file"),
    ("list", {"gallery": "nowhere"}, "no gallery in 'nowhere'"), ("create", {"gallery": "{faces}"}, "is no gallery"),
    ("create", {"gallery": "{new}", "images": "nowhere"}, "no image 'nowhere'"),
    ("update", {"source": "npz"}, "update looks at pictures where the rows say"),
    ("remove", {"source": "npz"}, "remove looks at pictures where the rows say"),
    ("remove", {"gallery": "nowhere"}, "what is to be removed"),  # before a gallery is looked for
])
def test_what_cannot_be_done_is_one_line(do, faces, tmp_path, verb, values, told):
    do("create")
    given = {name: value.format(faces=faces, new=tmp_path / "new") for name, value in values.items()}
    with pytest.raises((UserError, FileNotFoundError), match=told):
        do(*filter(None, [verb]), **given) if verb else gallery.main(None, types.SimpleNamespace(**GIVEN), [])
    assert not (tmp_path / "new").exists()


def test_more_words_than_a_verb_takes_are_refused(do):
    with pytest.raises(UserError, match="unexpected argument 'photos'"):
        do("add", "photos", images="x")
