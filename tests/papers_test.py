"""Every row of configs/papers runs, and its numbers are those of the recipe."""

import functools

import jax
import numpy as np
import pytest

from geodesic import datasets, embedders
from geodesic.configs import default, papers, protocols
from geodesic.embedders.resnet import BasicBlock, ResNet
from geodesic.experiments import tasks
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.trained import network
from geodesic.experiments.training import model, optimizer, step
from tests.experiments import tiny

NAMES = papers.names()

# A trunk of one block; registered only while tests run.
embedders.EMBEDDERS["tiny_block"] = functools.partial(ResNet, stage_sizes=(1,), block=BasicBlock, width=4, stem="half",
                                                   layer="stage1")


def load(paper):
    module, row = papers.split(paper)
    return module.get_config(row)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return tiny.faces(tmp_path_factory.mktemp("faces"), 8, 4)


def shrunk(config, folder):
    """The same recipe on a trunk of one block, 8 px, eight classes and a batch of eight."""
    for data in (config.train_data, config.test_data):
        data.update(name="image_folder", path=str(folder), classes=(0, 0))
    config.input.update(image_size=8, resize_size=0)
    config.embedder.update(name="tiny_block", embedding_size=8 if config.embedder.embedding_size else 0, stem=None)
    if config.loss.sample_rate < 1:
        config.loss.num_classes = 40  # a batch of eight fills a fifth of them
    config.batch_size = config.evaluation.batch_size = 8
    config.items_per_epoch = 0
    config.total_steps = 1
    return config


@functools.cache
def one_step(key, folder):
    """The loss and the moved parameters of a first step; once for rows that differ in their data alone."""
    config = _SHRUNK[key]
    source = datasets.build("image_folder", path=folder)
    mesh = meshes.make(jax.devices()[:1])
    built = model.build(config, tasks.get(config.task), config.loss.num_classes or source.num_classes, len(source),
                        mesh)
    batches = datasets.train_batches(source, input=config.input, augment=config.augment, sampling=config.sampling,
                                     batch_size=config.batch_size, seed=0, process_index=0, process_count=1)
    state = model.init_state(built, mesh)
    before = jax.tree.map(np.asarray, state.params)
    state, scalars = step.make_train_step(built, mesh)(state, step.put_train_batch(built, mesh, next(batches)))
    return float(scalars["loss"]), jax.tree.map(lambda a, b: float(np.abs(a - np.asarray(b)).max()), before,
                                                state.params)


_SHRUNK = {}


def test_a_detectors_row_is_built():
    """On shapes: five levels of 800 x 1344 pixels, all points of which the loss takes; stem and first stage frozen."""
    config = load("fcos:resnet50_1x")
    built = model.build(config, tasks.get(config.task), 80, 118_287, meshes.make(jax.devices()[:1]))
    outputs, _ = network.abstract(built.embedder, network.image_size(config))
    targets = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape[1:]), leaf.dtype), {
        name: leaf for name, leaf in built.batch.items() if name != "image"})
    value, _, scalars = jax.eval_shape(built.loss.apply, {}, {}, outputs, targets, None)
    assert value.shape == () and {*scalars} == {"classification", "box", "centerness", "positives"}
    assert [level.shape for level in outputs["centerness"]] == [(2, 16800), (2, 4200), (2, 1050), (2, 273), (2, 77)]
    assert built.embedder.head.strides == (8, 16, 32, 64, 128) and built.total_steps == 90_000
    frozen = {"conv1", "bn1", "stage1_block1", "stage1_block2", "stage1_block3"}
    assert built.phases.frozen == (tuple(name for name in built.variables["params"] if name in frozen),)
    assert [round(float(built.schedule(at)), 6) for at in (500, 59_999, 60_000, 80_000)] == [0.01, 0.01, 0.001, 0.0001]


# One row of each file in the default suite.
_FIRST = {name.partition(":")[0]: name for name in reversed(NAMES)}.values()


@pytest.mark.parametrize("paper", [name if name in _FIRST else pytest.param(name, marks=pytest.mark.slow)
                                   for name in NAMES if not name.startswith("fcos:")])
def test_a_row_runs_one_step(paper, faces):
    config = load(paper)
    network.make_embedder(config.embedder)  # the row's own trunk takes the fields that the row sets
    config = shrunk(config, faces)
    model.build(config, tasks.get(config.task), 40, 32, meshes.make(jax.devices()[:1]))  # and its loss the margins
    key = _program(config)
    _SHRUNK.setdefault(key, config)
    loss, moved = one_step(key, str(faces))
    assert np.isfinite(loss)
    moves = max(jax.tree.leaves(moved["embedder"])) > 0
    assert moves == (config.optimizer.learning_rate > 0 and not _starts_from_zero(config))


def _program(config):
    """What decides how a step is built. Rows that differ in a rate or a margin alone are built the same."""
    chosen, options = config.loss[config.loss.name], config.optimizer
    return str([config.loss.name, sorted(chosen), config.loss.sample_rate < 1, config.embedder.to_dict(), options.name,
                [bool(options[name]) for name in sorted(options) if name != "name"], config.sampling.name,
                config.augment.random_resized_crop, _starts_from_zero(config), options.loss_learning_rate_factor != 1])


def _starts_from_zero(config):
    """A warm-up's first rate is 0."""
    return round(config.schedule.warmup_epochs * 4) > 0


@pytest.mark.parametrize("paper", NAMES)
def test_a_row_names_itself_and_what_was_published(paper):
    module, row = papers.split(paper)
    config = module.get_config(row)
    assert config.paper == paper
    for figure in module.expected(row):
        protocol = protocols.get(figure["protocol"])
        assert protocols.definition(figure["metric"])
        assert 0 < figure["tolerance"] < 0.02 < figure["value"] < 1
        assert figure["image_size"] in (0, config.input.image_size)
        if figure["metric"].startswith("recall@"):
            assert int(figure["metric"].partition("@")[2]) in protocol.recall_at


def test_a_misspelt_row_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no row 'r50'; it has .*ms1mv3_r50"):
        papers.load("arcface_torch").get_config("r50")
    with pytest.raises(ValueError, match="known: arcface_torch"):
        papers.split("arcface:r50")


def rates(paper, images):
    """Learning rate at a share of the epochs, for this many training images."""
    config = load(paper)
    per_epoch = (config.items_per_epoch or images) / config.batch_size
    total = round(config.num_epochs * per_epoch)
    schedule = optimizer.make_schedule(config, per_epoch, total)
    return config, total, lambda epoch: float(schedule(round(epoch * per_epoch)))


def test_arcface_torch_is_20_epochs_of_a_square():
    config, total, rate = rates("arcface_torch:ms1mv3_r50", 5_179_510)
    assert total == 101_162 and config.optimizer.weight_decay == 5e-4 and config.optimizer.embedder_clip_norm == 5
    assert [rate(epoch) for epoch in (0, 10, 20)] == pytest.approx([0.1, 0.025, 0], abs=1e-6)
    assert load("arcface_torch:glint360k_r100").optimizer.weight_decay == 1e-4
    assert load("arcface_torch:glint360k_r100").loss.cosface.margin == 0.4
    assert load("arcface_torch:webface42m_r100").loss.sample_rate == 0.2


def test_the_2018_ablation_counts_in_updates():
    _, total, _ = rates("margin_ablation:arc_050", 0)
    config, _, rate = rates("margin_ablation:combined_090_040_015", 0)
    assert total == 180_000 and tuple(config.loss.combined.margins) == (0.9, 0.4, 0.15)
    assert [rate(epoch) for epoch in (99, 101, 139, 141, 161)] == pytest.approx([0.1, 0.01, 0.01, 1e-3, 1e-4])


def test_imagenet_drops_every_30_epochs():
    for paper, last in (("imagenet:resnet101", 1e-3), ("imagenet:resnext101_32x4d", 1e-4)):
        config, total, rate = rates(paper, 1_281_167)
        assert total == round(config.num_epochs * 1_281_167 / 256)
        assert [rate(epoch) for epoch in (29, 31, 61, config.num_epochs - 1)] == pytest.approx([0.1, 0.01, 1e-3, last])


def test_cifar10_has_two_schedules():
    _, _, cosine = rates("cifar10:resnext29_32x4d", 50_000)
    _, _, drops = rates("cifar10:resnext29_8x64d", 50_000)
    assert [cosine(epoch) for epoch in (0, 100, 200)] == pytest.approx([0.1, 0.05, 0], abs=1e-5)
    assert [drops(epoch) for epoch in (149, 151, 226)] == pytest.approx([0.1, 0.01, 1e-3])


def test_proxy_anchor_halves_its_rate_and_starts_with_the_head():
    config, _, rate = rates("proxy_anchor:cub_inception_bn", 5_864)
    assert [rate(epoch) for epoch in (5, 15, 25)] == pytest.approx([1e-4, 5e-5, 2.5e-5])
    assert config.optimizer.loss_learning_rate_factor == 100 and config.optimizer.head_only_epochs == 1
    assert config.embedder.batch_norm == "frozen" and config.embedder.pooling == "average_max"
    config, _, rate = rates("proxy_anchor:sop_inception_bn", 59_551)
    assert [rate(epoch) for epoch in (5, 25, 45)] == pytest.approx([6e-4, 1.5e-4, 3.75e-5])
    assert config.embedder.batch_norm == "local"


def test_reality_check_validates_on_a_fold_of_the_first_half():
    config = load("reality_check:cars_multi_similarity")
    assert config.train_data.classes == config.test_data.classes == (0, 98)
    assert (config.train_data.folds, config.train_data.part, config.test_data.part) == (4, "train", "validation")
    assert config.sampling.name == "pk" and config.sampling.images_per_class == 4
    assert load("reality_check:cars_arcface").sampling.name == "uniform"
    assert config.input.image_size == 227 and config.input.resize_size == 256 and config.augment.crop_area == (0.16, 1)
    assert config.optimizer.name == "rmsprop" and config.optimizer.learning_rate == 1e-6


def test_rows_differ_from_the_default_in_fields_that_exist():
    known = set(default.get_config())
    assert all(set(load(paper)) == known for paper in NAMES)
