import types

import jax
import numpy as np
import pytest

from benchmarks import heads as benchmark
from geodesic import heads, losses
from tests.datasets import images

OPTIONS = types.SimpleNamespace(rate=0.05, decay=0.0, steps=60, batch=12)


def maps(count: int, seed: int) -> tuple[dict, np.ndarray]:
    """Maps in which the class is the one channel of three that is larger."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    return {"stage4": rng.standard_normal((count, 2, 2, 3), np.float32) + 3 * np.eye(3)[labels][:, None, None]}, labels


def test_a_head_learns_and_a_seed_is_a_seed():
    (given, labels), (others, theirs) = maps(48, 0), maps(60, 1)
    head, loss = heads.build("linear"), losses.build("softmax", num_classes=3)
    params, seconds = benchmark.trained(head, loss, given, labels, 0, OPTIONS)
    assert benchmark.top1(head, loss, params, others, theirs) > 0.9 and seconds > 0
    again, _ = benchmark.trained(head, loss, given, labels, 0, OPTIONS)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, params))


def test_images_are_of_two_paths_or_of_one_that_is_split(tmp_path):
    for name in ("train", "test"):
        images.make_folder(tmp_path / name, 4, 4)
    given = {"source": "image_folder", "first": 1, "classes": 2, "train": str(tmp_path / "train")}
    for other in ({"test": str(tmp_path / "test"), "test_share": 0.0}, {"test": "", "test_share": 0.25}):
        train, test = benchmark.both(types.SimpleNamespace(**given, **other))
        assert train.class_names == test.class_names == ["class1", "class2"]
        assert (len(train), len(test)) == ((8, 8) if other["test"] else (6, 2))


def test_differences_are_paired():
    rows = {"linear": {"parameters": 10, "top1": [0.5, 0.7], "seconds": [1.0, 2.0]},
            "mlp": {"parameters": 2_000, "top1": [0.55, 0.75], "seconds": [3.0, 3.0]}}
    record = {"environment": {"devices": "1 x cpu", "machine": "x", "packages": {"jax": "1"}, "date": "2000-01-01T",
                              "commit": "0"}, "images": 1, "classes": 2, "tested": 3, "embedder": "resnet50",
              "options": benchmark.USUAL | {"classes": 2}}
    table = benchmark.described(rows, record)
    assert "`python -m benchmarks.heads --classes=2`" in table
    assert "| linear | 10 | **60.0** (50.0, 70.0) |  | 1.5 |" in table
    assert "| mlp | 2,000 | **65.0** (55.0, 75.0) | +5.0 [+5.0, +5.0] | 3.0 |" in table


@pytest.mark.parametrize("name", heads.HEADS)
def test_the_heads_are_those_of_the_configuration(name):
    assert benchmark.make_head(name) == heads.build(name)
