"""A detector in the loop: on any number of devices, stopped and resumed, watched, evaluated, and loaded again."""

import functools
import json
import os
import shutil
import types

import jax
import numpy as np
import pytest

from geodesic.configs import stored
from geodesic.errors import UserError
from geodesic.experiments import evaluate, report, tasks, train
from geodesic.experiments.compiled import collectives
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import progress
from geodesic.experiments.protocols import follow, record
from geodesic.experiments.trained import features, loading
from geodesic.experiments.training import model as models
from geodesic.experiments.training import step as steps
from tests.experiments import drawn
from tests.experiments.train_test import StopAt, one_device  # noqa: F401

TASK = tasks.get("detection")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return drawn.data(tmp_path_factory.mktemp("drawn"))


# Changes of the configuration that make each head.
HEADS = {"fcos": {}, "retinanet": {"detection__head": "retinanet", "loss__name": "retinanet",
                                   "detection__scales": (4.0, 6.0)}}


@functools.cache
def start(batch_norm: str, head: str):
    """The first state, in the memory of this process."""
    mesh = meshes.make(jax.devices()[:1])
    model = models.build(drawn.config("", embedder__batch_norm=batch_norm, optimizer__name="sgd", **HEADS[head]), TASK,
                         2, 24, mesh)
    return jax.device_get(models.init_state(model, mesh))


def a_step(config, devices: int, batch):
    """(scalars, parameters, bytes of each kind of collective) of one step."""
    mesh = meshes.make(jax.devices()[:devices])
    model = models.build(config, TASK, 2, 24, mesh)
    abstract = models.abstract_state(model, mesh)
    compiled = steps.make_train_step(model, mesh).lower(abstract, steps.abstract_batch(model, mesh)).compile()
    state = jax.device_put(start(config.embedder.batch_norm, config.detection.head),
                           jax.tree.map(lambda leaf: leaf.sharding, abstract))
    state, scalars = compiled(state, steps.put_train_batch(model, mesh, batch))
    return ({name: float(value) for name, value in scalars.items()}, jax.device_get(state.params["embedder"]),
            collectives.bytes_moved(compiled.as_text()))


@pytest.mark.parametrize(("devices", "head"), [
    pytest.param(devices, head, marks=[] if (devices, head) == (8, "fcos") else [pytest.mark.slow])
    for devices in (2, 4, 8) for head in HEADS])
def test_a_step_is_the_same_on_any_number_of_devices_and_gathers_nothing(data, devices, head):
    """Positives are counted over the global batch: of the 8 pictures one has none, and a device may have it alone."""
    config = drawn.config(data, embedder__batch_norm="synchronised", optimizer__name="sgd", **HEADS[head])
    batch = next(TASK.batches(TASK.train_source(config), config))
    assert 0 in batch["num_boxes"] or batch["num_boxes"].min() < batch["num_boxes"].max()
    scalars, params, _ = a_step(config, 1, batch)
    assert scalars["positives"] > 20
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    others, theirs, moved = a_step(config, devices, batch)
    assert others == pytest.approx(scalars, rel=1e-4)
    for one, other in zip(jax.tree.leaves(params), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    # The gradient and a few numbers cross devices, no image and no map.
    assert {*moved} == {"all-reduce"} and moved["all-reduce"] < 1.2 * size


@pytest.mark.slow
def test_parts_of_a_step_are_divided_by_their_own_positives(data):
    config = drawn.config(data, embedder__batch_norm="frozen", optimizer__name="sgd")
    whole = next(TASK.batches(TASK.train_source(config), config))
    config.accumulation_steps = 2
    scalars, _, _ = a_step(config, 1, whole)
    config.accumulation_steps, config.batch_size = 1, 4
    half = lambda part: jax.tree.map(lambda x: x[part], whole)
    halves = [a_step(config, 1, half(part))[0] for part in (slice(4), slice(4, 8))]
    for name in ("loss", "classification", "box", "centerness", "positives"):
        assert scalars[name] == pytest.approx((halves[0][name] + halves[1][name]) / 2, rel=1e-5)


@pytest.mark.slow
def test_rectangles_are_found_with_anchors_too(one_device, data, tmp_path):  # noqa: F811
    """Trained, evaluated, loaded and asked as without anchors."""
    config = learning(data)
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in HEADS["retinanet"].items()})
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0
    scores = [record for record in progress.read_metrics(str(tmp_path / "run")) if "ap" in record]
    assert scores[0]["ap"] < 0.1 and scores[-1]["ap50"] > 0.85 and scores[-1]["ap"] > 0.5
    run = loading.load(tmp_path / "run")
    picture, boxes = drawn.draw(np.random.default_rng(77))
    (found,) = run.detect(picture, threshold=0.25)
    for (left, top, width, height), label in boxes:
        wanted = np.array([left, top, left + width, top + height])
        assert np.abs(found.boxes[found.classes == label] - wanted).max(axis=1).min(initial=99) < 7
    with pytest.raises(UserError, match=r"weights are of --config.detection.head=retinanet; got 'fcos'"):
        loading.load(tmp_path / "run", stored.changed(config, {"detection.head": "fcos"}))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of a run that has learnt to find rectangles."""
    folder = tmp_path_factory.mktemp("runs") / "detector"
    mesh = meshes.make(jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(meshes, "make", lambda devices=None: mesh)
        assert train.train(learning(data), str(folder), StopAt()) == 0
    return folder


def learning(data):
    """The configuration of that run."""
    return drawn.config(data, total_steps=240, optimizer__learning_rate=0.01, schedule__name="cosine",
                        box_augment__horizontal_flip=0.5, evaluation__every_epochs=120 / 3, run__keep_best="ap",
                        run__log_every_steps=50)


@pytest.mark.slow
def test_it_is_stopped_and_goes_on_bit_for_bit(one_device, data, trained, tmp_path):  # noqa: F811
    """Stopped in the evaluation at step 120, which is then made anew."""
    folder = str(tmp_path / "stopped")
    # It is asked once before a step, and once after each of the two batches of an evaluation, also at step 0.
    assert train.train(learning(data), folder, StopAt(2 + 121 + 1)) == 143
    assert [record["step"] for record in progress.read_metrics(folder) if "ap" in record] == [0]
    assert train.train(learning(data), folder, StopAt()) == 0
    whole, parts = ({(record["step"], name): record[name] for record in progress.read_metrics(where)
                     for name in ("loss", "ap") if name in record} for where in (str(trained), folder))
    assert whole.items() <= parts.items() and len(whole) >= 3 + 5


def test_rectangles_are_found(trained, one_device):  # noqa: F811
    scores = [record for record in progress.read_metrics(str(trained)) if "ap" in record]
    assert [record["step"] for record in scores] == [0, 120, 240] and scores[0]["ap"] < 0.1
    assert scores[-1]["ap50"] > 0.85 and scores[-1]["ap"] > 0.5
    run = loading.load(trained)
    assert run.class_names == ["green", "red"] and "48 x 64 px -> boxes" in repr(run)
    rng = np.random.default_rng(77)
    for _ in range(5):
        small, boxes = drawn.draw(rng)
        picture = np.pad(np.repeat(np.repeat(small, 2, 0), 2, 1), ((0, 32), (0, 0), (0, 0)), constant_values=110)
        (found,) = run.detect(picture, threshold=0.25)  # twice as large, and a square: letterboxed
        assert found.boxes.shape == (len(found.scores), 4) and (np.diff(found.scores) <= 0).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all() and found.scores.min(initial=1) >= 0.25
        for (left, top, width, height), label in boxes:
            wanted = 2 * np.array([left, top, left + width, top + height])
            near = np.abs(found.boxes[found.classes == label] - wanted).max(axis=1)
            assert near.min(initial=99) < 14, (found, boxes)


def test_a_run_is_evaluated(trained, one_device, capsys):  # noqa: F811
    measured = evaluate.evaluate(loading.load(trained))
    watched = [one for one in progress.read_metrics(str(trained)) if "ap" in one][-1]
    assert measured["scores"][measured["trained"]]["ap"] == pytest.approx(watched["ap"], abs=1e-6)
    found = measured["detection"]
    entry = found["metrics"]["ap"]
    assert entry["low"] <= entry["value"] <= entry["high"] and entry["low"] < entry["high"]
    assert {*found["classes"]} == {"green", "red"} and found["classes"]["red"]["boxes"] > 3
    assert sum(one["boxes"] for one in found["classes"].values()) == measured["protocol"]["boxes"]
    assert {*found["errors"]["gains"]} == {*found["errors"]["counts"]} and found["interval"]["over"] == "images"
    assert json.loads((trained / "evaluation.json").read_text()) == json.loads(json.dumps(measured))
    out = capsys.readouterr().out
    assert "ap50" in out and "green" in out and "missed" in out and "95% interval over images" in out


def test_what_a_detector_cannot_do_is_one_line(trained, one_device):  # noqa: F811
    run = loading.load(trained)
    with pytest.raises(UserError, match="is a detector, which gives boxes and no embeddings: use geodesic detect"):
        run.embed(np.zeros((16, 16, 3), np.uint8))
    # Its pictures are letterboxed into 48 x 64 pixels, of which the first stage has every second.
    assert run.features(np.zeros((16, 16, 3), np.uint8), "stage1").shape[1:3] == run.layers["stage1"][:2] == (24, 32)
    with pytest.raises(UserError, match="is a detector, whose pictures are letterboxed: features are kept of an emb"):
        features.of(run, run.source(np.zeros((16, 16, 3), np.uint8)), ("stage1",))
    with pytest.raises(UserError, match="scores are between 0 and 1, and so is their threshold; got 3"):
        run.detect(np.zeros((16, 16, 3), np.uint8), threshold=3)
    with pytest.raises(UserError, match=r"--also=health is of embeddings, and .* is a detector"):
        evaluate.evaluate(run, also=("health",))
    config = stored.changed(run.config, {"detection.suppression": "none"})
    loaded = loading.load(trained, config)
    with pytest.raises(UserError, match="suppression is one of hard, linear, gaussian; got 'none'"):
        loaded.detect(np.zeros((16, 16, 3), np.uint8))


REFUSED = (
    ({"loss__name": "arcface"}, "--config.detection.head=fcos learns by --config.loss.name=fcos; got 'arcface'"),
    ({"detection__head": "retinanet"}, "--config.detection.head=retinanet learns by --config.loss.name=retinanet; got"),
    ({"detection__head": "yolo", "loss__name": "yolo"}, "detection.head is one of fcos, retinanet; got 'yolo'"),
    ({"detection__head": "retinanet", "loss__name": "retinanet", "detection__scales": ()}, "have one or more scales"),
    ({"detection__height": 50}, "multiples of the trunk's coarsest stride high and wide, 4 pixels; got "
                                "detection.height 50 and detection.width 64"),
    ({"detection__layers": ("stage1", "stage9")}, "detection.layers has 'stage9'; the trunk's maps are stem, stage1"),
    ({"detection__layers": ("stem", "stage1")}, "two layers of one stride: stem, stage1 are of 2, 2 pixels"),
    ({"detection__channels": 0}, "detection.channels is 1 or more; got 0"),
    ({"detection__distances": "linear"}, "distances are made by one of softplus, relu, exp; got 'linear'"),
    ({"detection__ranges": ((0.0, 8.0),)}, "each of 2 levels needs two bounds"),
    ({"detection__smallest_score": 1.0}, "detection.smallest_score is at least 0 and below 1; got 1"),
    ({"detection__max_boxes": 1}, "has 3 boxes, and detection.max_boxes is 1"),
    ({"head__name": "mlp"}, "--config.task=detection has a head of its own: leave out head.name 'mlp'"),
    ({"distill__teacher": "runs/other"}, "a detector has no teacher: leave out distill.teacher"),
    ({"train_data__name": "image_folder", "train_data__path": "train"}, "images with boxes, and those of image_folder"),
    ({"augment__mixup_alpha": 0.2}, "augment.mixup_alpha is not for a detector: leave it at 0.0"),
    ({"sampling__name": "pk"}, "sampling.name is not for a detector: leave it at 'uniform'"),
    ({"task": "embedding"}, "unknown loss 'fcos'"),
)


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_what_cannot_be_is_refused_before_anything_is_written(one_device, data, tmp_path, changes, message):  # noqa: F811
    if changes.get("train_data__path"):
        changes = changes | {"train_data__path": str(drawn.tiny.faces(tmp_path / "faces"))}
    with pytest.raises(UserError, match=message):
        train.train(drawn.config(data, **changes), str(tmp_path / "run"), StopAt())
    assert not (tmp_path / "run").exists()


def test_the_trunk_starts_from_a_run_and_can_be_frozen(one_device, data, trained, tmp_path, capsys):  # noqa: F811
    """Its parameters and statistics stay, bit for bit; the pyramid and the head learn."""
    config = drawn.config(data, total_steps=2, init_from=str(trained), optimizer__trunk_learning_rate_factor=0.0)
    assert train.train(config, str(tmp_path / "run"), StopAt()) == 0
    before, after = (jax.device_get(loading.load(folder).variables) for folder in (trained, tmp_path / "run"))
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, after)
    assert all(jax.tree.leaves(changed["params"].pop("head"))) and not any(jax.tree.leaves(changed))
    assert "frozen bn1, conv1" in capsys.readouterr().out


def test_the_report_shows_its_boxes(trained, one_device):  # noqa: F811
    if not (trained / "evaluation.json").exists():
        evaluate.evaluate(loading.load(trained))
    config = loading.stored_config(str(trained))
    page = report.render(config, str(trained))
    for section in ("COCO's numbers", "Precision and recall", "Errors by their kinds", "Worst", "Best"):
        assert section in page
    assert page.count('<figure class="boxes">') == 12 and "right, 0 wrong, 0 missed" in page
    assert "10 images with 17 objects of 2 classes" in page and "<td>green</td>" not in page and ">green<" in page


def test_the_protocol_of_coco(trained, one_device, data, tmp_path):  # noqa: F811
    """Files as COCO's lie; the record is marked, as these are not COCO's images, and held against the paper's row."""
    (tmp_path / "annotations").mkdir()
    shutil.copytree(f"{data}/test", tmp_path / "val2017")
    os.rename(tmp_path / "val2017" / "boxes.json", tmp_path / "annotations" / "instances_val2017.json")
    values = types.SimpleNamespace(protocol="coco", data=str(tmp_path), select="last", select_on_test=False, step=-1,
                                   concatenate=[], quarter_turns=False, workdir=str(trained))
    written = follow.run(loading.stored_config(str(trained)), values)
    assert written["protocol"]["image_size"] == 48 and not written["protocol"]["complete"]
    assert written["counts"] == {"images": 10, "classes": 2, "boxes": 17} and written["interval"]["over"] == "images"
    watched = [one for one in progress.read_metrics(str(trained)) if "ap" in one][-1]
    assert written["metrics"]["ap"]["value"] == pytest.approx(watched["ap"], abs=1e-6)
    assert record.read(record.path(str(trained), "coco")) == json.loads(json.dumps(written))
