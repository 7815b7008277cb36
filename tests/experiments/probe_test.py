"""The program: a table, probe.json, probe.csv and a page that opens offline."""

import csv
import json
import re
import types

import pytest

import geodesic
from geodesic.configs import stored
from geodesic.experiments import probe
from tests.experiments import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    faces = tiny.faces(folder / "faces", 4, 12)
    # Two classes whose images are mixed: there is something to confuse.
    for place in range(0, 12, 2):
        one, other = (faces / name / f"{place}.jpg" for name in ("class0", "class1"))
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
    config = tiny.config(faces, train_data__test_share=0.4, test_data__test_share=0.4, test_data__part="test",
                         total_steps=1)
    return geodesic.train(config, folder / "run")


def probed(run, overrides=None, **values):
    given = dict(workdir=run.workdir, layer=["embedding"], validation="", normalize="raw", features="", out="",
                 controls=False, seed=0, overwrite=False)
    probe.main(stored.changed(run.config, overrides or {}), types.SimpleNamespace(**given | values))


def test_a_probe_writes_its_table_its_record_and_its_page(run, tmp_path, capsys):
    probed(run, controls=True, out=str(tmp_path / "out"))
    shown = capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "probe.json").read_text())
    ours = record["results"]["tiny, embedding"]
    assert all(name in shown for name in (f"{ours['logistic']['test']['value']:.4f}", "untrained", "raw pixels"))
    assert re.search(r"C \S+ of 45 from 1e-6 to 1e5, by validation accuracy \(.*\)\. It lies", shown)
    assert re.search(r"2 labels a class: 0\.\d{4} \(\S+ to \S+\), C ", shown)
    assert record["images"] == {"train": 24, "validation": 4, "test": 20} and record["classes"] == 4
    lines = [*csv.DictReader((tmp_path / "out" / "probe.csv").open())]
    assert sum(line["what"] == "tried" and line["method"] == "logistic" for line in lines) == 3 * 45
    chosen = [line for line in lines if line["what"] == "chosen" and line["features"] == "tiny, embedding"]
    assert float(chosen[0]["test"]) == ours["logistic"]["test"]["value"] and chosen[0]["setting"] == "C"
    page = (tmp_path / "out" / "probe.html").read_text()
    for part in ("Over C", "Few labels", "Confusions", "taken for", "untrained network"):
        assert part in page
    assert page.count("data:image/png") == 2 and "data:image/jpeg" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "$" not in re.sub(r"data:[^\"]*", "", page)
    probed(run, out=str(tmp_path / "out"))  # the same images again


def test_another_probe_is_not_written_over(run, tmp_path):
    out = str(tmp_path / "out")
    probed(run, out=out)
    before = (tmp_path / "out" / "probe.json").read_bytes()
    other = {"train_data.split_seed": 1, "test_data.split_seed": 1}
    with pytest.raises(geodesic.UserError, match="holds a probe of other test images: give another --out"):
        probed(run, other, out=out)
    assert (tmp_path / "out" / "probe.json").read_bytes() == before
    probed(run, other, out=out, overwrite=True)
    assert (tmp_path / "out" / "probe.json").read_bytes() != before
