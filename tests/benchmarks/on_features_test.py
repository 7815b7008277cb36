"""The page, and each contender on a tiny network."""

import types

import pytest

import geodesic
from benchmarks import on_features as benchmark
from geodesic import datasets
from geodesic.experiments import train
from geodesic.experiments.trained import features
from tests.experiments import tiny


@pytest.fixture
def asked(tmp_path):
    """Of a run of one step on eight faces."""
    config = tiny.config(tiny.faces(tmp_path / "faces", 2, 4), total_steps=1, embedder__embedding_size=0,
                         loss__name="softmax")
    train.train(config, str(tmp_path / "run"))
    return types.SimpleNamespace(workdir=str(tmp_path / "run"), data=str(tmp_path / "faces"), classes=2, image_size=16,
                                 batch=8, steps=1)


@pytest.mark.slow
def test_what_is_compared_runs(asked):
    config, run = benchmark.configured(asked), geodesic.load(asked.workdir)
    assert benchmark.augmented(config).augment.random_resized_crop and not config.augment.random_resized_crop
    source = datasets.build(**config.train_data)
    assert len(source) == 8
    kept = features.of(run, source)["embedding"].values
    for rate in (benchmark.on_kept(config, kept, source, 3), benchmark.forward(run, source, asked),
                 benchmark.through_trunk(benchmark.augmented(config), run, source, asked)):
        assert rate() > 0


def test_ratios_are_of_the_rates_of_one_round():
    record = {"options": {"image_size": 128, "classes": 4, "batch": 32, "rounds": 2, "steps": 2},
              "embedder": "resnet50", "size": 2048,
              "images_per_second": {benchmark.KEPT: [1000.0, 500.0], benchmark.PLAIN: [5.0, 4.0],
                                    benchmark.AUGMENTED: [2.5, 2.0], benchmark.BARE: [10.0, 5.0]},
              "images": 160, "features_seconds": 30.5, "load": [1.0, 2.0], "machine": "M", "packages": {"jax": "1"},
              "date": "D", "commit": "X"}
    page = benchmark.table(record)
    assert "| kept features | 750.0 | 100.00 (100.00 to 100.00) |" in page
    assert "| through the trunk | 4.5 | 0.65 (0.50 to 0.80) |" in page
    assert "| forward pass alone | 7.5 | 1.00 (1.00 to 1.00) |" in page
    assert "The features of the 160 photographs took 30.5 s, once." in page
