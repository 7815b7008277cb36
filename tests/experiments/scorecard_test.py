"""The program: a table, scorecard.json, scorecard.csv and a page that opens offline; and two side by side."""

import csv
import functools
import json
import re
import types

import jax
import pytest

import geodesic
from geodesic.configs import stored
from geodesic.experiments import compare, scorecard
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.protocols import comparison, evaluation, record, scorecard_files
from geodesic.experiments.trained import loading, network
from geodesic.experiments.trained.run import Run
from tests.experiments import tiny
from tests.experiments.protocols.comparison_test import made
from tests.experiments.protocols.scorecard_files_test import WHOLE

RUN, REFERENCE, OTHERS = "run", "reference", ["untrained network", "raw pixels"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two networks of other seeds than that of their configuration: as good as trained, and not the untrained one."""
    folder = tmp_path_factory.mktemp("judged")
    faces = tiny.faces(folder / "faces", 6, 7)
    for place in range(0, 7, 2):  # images of the first three classes are mixed: there is something to get wrong
        first, *others = (faces / f"class{label}" / f"{place}.jpg" for label in range(3))
        content = first.read_bytes()
        for path, other in zip((first, *others), (*others, None), strict=True):
            path.write_bytes(content if other is None else other.read_bytes())
    (faces / "class1" / "3.jpg").write_bytes(b"no picture")
    config = tiny.config(faces)
    embedder = network.make_embedder(config.embedder, config.head)
    start = jax.jit(lambda seed: network.init_embedder(embedder, config.input.image_size, seed))
    for name, seed in (("run", 1), ("other", 2)):
        imported.save(str(folder / name), config, start(seed), {})
    return folder


def judged(weights, overrides=None, **values):
    folder = str(weights / "run")
    given = dict(workdir=folder, reference="", step=-1, robustness=False, seed=0, out="", overwrite=False,
                 detectors=[]) | values
    config = loading.stored_config(folder)
    scorecard.main(stored.changed(config, overrides or {}), types.SimpleNamespace(**given))


@pytest.fixture(scope="module")
def whole(weights):
    """The scorecard of the run beside the other, with everything; how often each image was embedded."""
    counts, embed = [], Run.embed_source
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "embed_source", lambda self, *rest, **more: counts.append(self.digest)
                      or embed(self, *rest, **more))
        # Eight devices are no part of what is tested here, and take most of the time.
        patch.setattr(scorecard.loading, "load", functools.partial(loading.load, mesh=meshes.make(jax.devices()[:1])))
        judged(weights, reference=str(weights / "other"), robustness=True)
    return scorecard_files.read(str(weights / "run" / "scorecard" / "scorecard.json")), counts


def compared(*names, **values):
    return compare.main(None, types.SimpleNamespace(**dict(paper="", json=False, allow_better=False) | values),
                        [str(name) for name in names])


def test_every_figure_stands_beside_the_others(whole, weights):
    found, counts = whole
    assert [*found["contestants"]] == [RUN, REFERENCE, *OTHERS] and len(counts) == len({*counts}) == 3
    rows = {(row["task"], row["metric"]): row for row in found["scores"]}
    assert [*dict.fromkeys(task for task, _ in rows)] == ["retrieval", "verification", "clustering", "few-shot",
                                                          "classification", "health", "robustness", "size"]
    for key, row in rows.items():
        if key[0] != "size":
            assert [*row["of"]] == [RUN, REFERENCE, *OTHERS], key
    run = geodesic.load(weights / "run", devices=jax.devices()[:1])
    embedded = run.embed_source(geodesic.datasets.build(**run.config.test_data))
    labels = geodesic.datasets.build(**run.config.test_data).labels[embedded.readable]
    scores = evaluation.score(embedded.embeddings[embedded.readable], labels, run.config)
    mine = {metric: rows[task, metric]["of"][RUN] for task, metric in rows if task in ("retrieval", "verification")}
    assert {name: metric["value"] for name, metric in mine.items()} == pytest.approx(
        {name: scores[name] for name in ("map@r", "recall@1", "eer", "tar@far=0.01", "tar@far=0.001")})
    assert rows["retrieval", "map@r"]["of"][REFERENCE] != rows["retrieval", "map@r"]["of"][RUN]
    size = {metric: row["of"] for (task, metric), row in rows.items() if task == "size"}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(run.variables["params"]))
    assert size["parameters"][RUN]["value"] == size["parameters"]["untrained network"]["value"] == parameters
    assert size["bytes of an embedding"]["raw pixels"]["value"] == 4 * 16 * 16 * 3
    assert size["bytes of an embedding"][RUN]["value"] == 4 * 16 and [*size["images a second"]] == [RUN, REFERENCE]


def test_what_was_judged_is_told(whole):
    found, _ = whole
    assert found["protocol"]["images"] == 41 and found["protocol"]["classes"] == 6
    assert [line for line in found["unreadable"] if "class1/3.jpg" in line]
    why = {(one["task"], one["why"]) for one in found["left_out"]}
    assert why == {("few-shot", "no group has 5 classes of 10 examples (shots and queries)"),
                   ("few-shot", "no group has 20 classes of 6 examples (shots and queries)")}
    assert found["contestants"]["untrained network"]["classes_trained_on"] == 0
    assert found["contestants"][REFERENCE]["classes_trained_on"] is None  # these weights have no names of classes
    assert found["contestants"][RUN]["digest"] != found["contestants"][REFERENCE]["digest"] and found["seconds"] > 0
    curves, means = found["curves"], {row["metric"]: row["of"] for row in found["scores"]
                                      if row["task"] == "robustness"}
    for name in (RUN, REFERENCE, *OTHERS):
        assert [*curves[name]] == ["jpeg", "blur", "noise", "brightness", "rotation"]
        assert all(curve[0] == means["clean"][name]["value"] for curve in curves[name].values())
        assert sum(curves[name]["noise"][1:]) / 5 == pytest.approx(means["noise"][name]["value"])


def test_the_files_hold_the_same(whole, weights):
    found, _ = whole
    folder = weights / "run" / "scorecard"
    lines = [*csv.DictReader((folder / "scorecard.csv").open())]
    assert len(lines) == sum(len(row["of"]) for row in found["scores"]) + 4 * 25
    (line,) = [line for line in lines if (line["metric"], line["contestant"]) == ("map@r", REFERENCE)]
    assert float(line["value"]) == found["scores"][0]["of"][REFERENCE]["value"] and float(line["low"]) > 0
    page = (folder / "scorecard.html").read_text()
    for part in ("Scorecard of tiny", "41 images of 6 classes", "lower is better", "no group has 20 classes", "load"):
        assert part in page
    best = max(found["scores"][0]["of"].values(), key=lambda metric: metric["value"])
    assert f"<b>{scorecard_files.cell(best)}</b>" in page and page.count("data:image/png") == 2
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "$" not in re.sub(r"data:[^\"]*", "", page)


def test_scorecards_are_put_side_by_side(whole, weights, tmp_path, capsys):
    found, _ = whole
    other = tmp_path / "other" / "scorecard" / "scorecard.json"
    other.parent.mkdir(parents=True)
    better = json.loads(json.dumps(found))
    better["scores"][0]["of"][RUN] = {"value": 2.0, "low": 1.5, "high": 2.5}
    other.write_text(json.dumps(better))
    run = weights / "run"
    assert compared(run, tmp_path / "other") == 0
    shown = capsys.readouterr().out
    assert shown.count("better than") == 1 and re.search(r"map@r .* 2 \[1\.5, 2\.5\] .*B better than A", shown)
    assert f"A: {run}, tiny, weights {found['contestants'][RUN]['digest']}, on 41 images of 6 classes" in shown
    assert compared(run / "scorecard" / "scorecard.json", other, json=True) == 0
    assert json.loads(capsys.readouterr().out)[0]["apart"] == [[str(other), str(run / "scorecard" / "scorecard.json")]]
    other.write_text(json.dumps(better | {"seed": 5}))
    compared(run, tmp_path / "other")
    assert "no difference can be told: their seeds drew otherwise" in capsys.readouterr().out


def test_papers_keep_their_say(whole, weights, tmp_path, capsys):
    """A record of no paper is passed over beside another scorecard; one of a paper decides the status."""
    other = tmp_path / "other"
    (other / "scorecard").mkdir(parents=True)
    (other / "scorecard" / "scorecard.json").write_text(json.dumps(WHOLE))
    measured = made(**{"recall@1": 0.5})
    record.write(str(other), measured | {"paper": ""})
    assert compared(weights / "run", other) == 0 and "published" not in capsys.readouterr().out
    assert compared(other) == 3  # alone it is what it was
    record.write(str(other), measured)
    assert compared(weights / "run", other) == comparison.status(comparison.compare(measured, "")) == 1
    with pytest.raises(geodesic.UserError, match="is the only scorecard: give another"):
        compared(other / "scorecard" / "scorecard.json")
    with pytest.raises(FileNotFoundError, match="no record in"):
        compared(weights / "run")
    (other / "scorecard" / "scorecard.json").write_text(json.dumps(WHOLE | {"version": 2}))
    with pytest.raises(geodesic.UserError, match="is no scorecard of version 1: it is of version 2"):
        compared(weights / "run", other)


def test_another_scorecard_is_not_written_over(whole, weights):
    before = (weights / "run" / "scorecard" / "scorecard.json").read_bytes()
    with pytest.raises(geodesic.UserError, match=r"holds a scorecard on other test data .*: give another --out, or"):
        judged(weights, {"test_data.classes": (0, 4)})
    assert (weights / "run" / "scorecard" / "scorecard.json").read_bytes() == before


@pytest.mark.parametrize("task", ["detection", "multilabel"])
def test_boxes_and_tags_are_refused(weights, monkeypatch, task):
    run = geodesic.load(weights / "run", devices=jax.devices()[:1])
    run.config = stored.changed(run.config, {"task": task})
    monkeypatch.setattr(scorecard.loading, "load", lambda *rest, **more: run)
    with pytest.raises(geodesic.UserError, match=f"is of --config.task={task}, and a scorecard is of embeddings"):
        judged(weights, out=str(weights / "nothing"))
    assert not (weights / "nothing").exists()
