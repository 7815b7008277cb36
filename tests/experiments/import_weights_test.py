"""Detectors of torchvision as workdirs: their numbers, their boxes, and what is refused."""

import functools
import json
import pathlib
import types

import jax
import numpy as np
import PIL.Image
import pytest

from geodesic import embedders
from geodesic.configs import stored
from geodesic.embedders.public_weights import coco
from geodesic.embedders.resnet import BasicBlock, ResNet
from geodesic.errors import UserError
from geodesic.experiments import detect, import_weights
from geodesic.experiments.trained import loading
from tests.embedders.public_weights import detector_cases as cases

GOLDEN = pathlib.Path(__file__).parents[1] / "embedders" / "public_weights" / "goldens" / "detectors.npz"
NAMES = {"fcos": {"logits": "cls_logits", "distances": "bbox_regression", "centerness": "bbox_ctrness"},
         "retinanet": {"logits": "cls_logits", "offsets": "bbox_regression"}}
# To see as torchvision sees: the picture as it is, and scores of weights that nothing has been learnt by.
SEEN = {"detection.height": cases.IMAGE_SIZE[0], "detection.width": cases.IMAGE_SIZE[1],
        "detection.smallest_score": 0.1}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(embedders.EMBEDDERS, "tiny4", functools.partial(ResNet, stage_sizes=(1,) * 4, block=BasicBlock))
    monkeypatch.setitem(embedders.PUBLIC_LAYOUTS, "tiny4", ("torchvision",))


def run_import(folder, state: dict, embedder: str = "tiny4", **values) -> str:
    np.savez(folder / "public.npz", **state)
    given = {"weights": str(folder / "public.npz"), "embedder": embedder, "out": str(folder / "imported"), "prefix": "",
             "class_names": "", "allow_missing": [], "allow_unexpected": [], "channel_order": "", "mean": [], "std": [],
             "image_size": 0}
    import_weights.main(None, types.SimpleNamespace(**given | values))
    return given["out"]


@pytest.fixture(scope="module")
def states():
    """Of each tiny case, made once."""
    return functools.cache(cases.state_dict)


def same(name: str, run, all_outputs: int, kept: list[int]) -> None:
    """What the head gives at the places that the golden file has, and what is found, are torchvision's."""
    golden, kind = np.load(GOLDEN), run.config.detection.head
    pixels = (cases.picture()[None] - np.float32(run.config.input.mean)) / np.float32(run.config.input.std)
    outputs = jax.jit(lambda variables, images: run.embedder.apply(variables, images, train=False))(
        run.variables, pixels)
    for ours, theirs in NAMES[kind].items():
        values = np.concatenate(outputs[ours], axis=1)
        if ours == "logits":  # what was left out is not compared
            whole = np.full((*values.shape[:2], all_outputs), np.nan, np.float32)
            whole[..., kept] = values
            values = whole
        found, expected = cases.sampled(theirs, values), golden[f"{name}/{theirs}"]
        there = ~np.isnan(found)
        assert there.mean() > 0.7
        np.testing.assert_allclose(found[there], expected[there], rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    (found,) = run.detect(cases.picture())
    scores, labels, boxes = (golden[f"{name}/{key}"] for key in ("scores", "labels", "boxes"))
    there = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # a box without area is nothing here
    scores, labels, boxes = scores[there], labels[there], boxes[there]
    assert len(found.scores) == len(scores) > 30
    np.testing.assert_allclose(found.scores, scores, rtol=2e-3)
    near = 0
    for box, score, label in zip(boxes, scores, labels, strict=True):  # scores that are nearly equal may change places
        own = (np.asarray(kept)[found.classes] == label) & (np.abs(found.scores - score) < 2e-3 * score)
        near += (np.abs(found.boxes[own] - box).max(axis=1) < 0.05).any() if own.any() else 0
    assert near >= 0.98 * len(scores)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
def test_a_tiny_detector_gives_what_torchvision_gives(kind, states, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    folder = run_import(tmp_path, states(f"{kind}_tiny"), class_names=str(tmp_path / "names.txt"))
    told = capsys.readouterr().out
    assert "0 missing, 0 left over" in told and "has 4 outputs, and 3 of them are kept" in told
    run = loading.load(folder, stored.changed(loading.stored_config(folder), SEEN))
    assert run.class_names == ["ant", "bee", "cat"] and run.config.loss.name == kind
    assert (run.config.embedder.batch_norm, run.config.embedder.bn_epsilon) == ("frozen", None if kind == "fcos" else 0)
    same(f"{kind}_tiny", run, 4, [1, 2, 3])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
def test_a_whole_detector_gives_what_torchvision_gives(kind, tmp_path, capsys):
    """And `detect` writes it with COCO's ids."""
    folder = run_import(tmp_path, cases.state_dict(f"{kind}_resnet50"), "resnet50")
    assert "has 91 outputs, and 80 of them are kept: those of COCO" in capsys.readouterr().out
    config = loading.stored_config(folder)
    assert (config.detection.height, config.detection.width, config.detection.coarser) == (800, 1344, 2)
    config = stored.changed(config, SEEN)
    same(f"{kind}_resnet50", loading.load(folder, config), 91, list(coco.NAMES))
    PIL.Image.fromarray(cases.picture()).save(tmp_path / "a.png")
    values = {"images": str(tmp_path / "a.png"), "source": "", "path": "", "format": "", "sheet": "", "threshold": 0.1,
              "out": str(tmp_path / "found.json"), "workdir": folder}
    assert detect.main(config, types.SimpleNamespace(**values)) == 0
    rows = json.loads((tmp_path / "found.json").read_text())
    assert rows and all(coco.NAMES[row["category_id"]] == row["category_name"] for row in rows)


def without(state: dict, start: str) -> dict:
    return {name: values for name, values in state.items() if not name.startswith(start)}


def test_what_is_no_whole_detector_is_refused_and_nothing_written(states, tmp_path):
    state = states("fcos_tiny")
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    for changed, values, message in (
            (without(state, "head.regression_head.bbox_reg"), {},
             "not a whole detector of torchvision's FCOS on tiny4: params/head/fcos/distances/bias is absent there"),
            (without(state, "backbone.body.layer2"), {}, "not a whole tiny4: .* missing"),
            (state | {"odd.weight": np.ones(3)}, {}, "odd.weight left over"),
            (state, {"class_names": str(tmp_path / "names.txt")}, "has 2 names, 2 of them different; the detector has"),
            (state, {"image_size": 64}, "--image_size and --channel_order are not of a detector")):
        with pytest.raises(UserError, match=message):
            run_import(tmp_path, changed, **values)
        assert not (tmp_path / "imported").exists()


def test_its_trunk_alone_is_an_embedder(states, tmp_path):
    run = loading.load(run_import(tmp_path, states("fcos_tiny"), prefix="backbone.body"))
    assert run.config.task == "embedding" and run.embed(cases.picture()).shape == (1, 512)
    with pytest.raises(UserError, match=r"holds imported weights, and no detector: train one with --config.init"):
        loading.load(run.workdir, stored.changed(run.config, {"task": "detection"}))
