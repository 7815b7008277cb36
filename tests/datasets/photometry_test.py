"""Against torchvision's own: goldens/transforms.py."""

import numpy as np
import pytest

from geodesic.datasets import photometry
from tests.datasets import goldens

GOLDEN = goldens.load()
ORDER = np.arange(4)


@pytest.mark.parametrize(("name", "amounts", "tolerance"), [
    ("brightness", (1.3, 1, 1, 0), 0.6), ("contrast", (1, 0.6, 1, 0), 0.6), ("saturation", (1, 1, 1.5, 0), 0.6),
    ("hue", (1, 1, 1, 0.1), 2.0),  # Pillow's hue has 256 steps, and so has ours, but other ones
])
def test_colours_are_torchvisions(name, amounts, tolerance):
    ours = photometry.jitter(GOLDEN["image"], *amounts, ORDER).astype(int)
    difference = np.abs(ours - GOLDEN[f"view/{name}"])
    assert difference.mean() < tolerance and difference.max() <= (20 if name == "hue" else 2)
    assert np.abs(ours - GOLDEN["image"]).mean() > 5


def test_grey_and_blur_are_torchvisions():
    assert np.abs(photometry.grey(GOLDEN["image"]).astype(int) - GOLDEN["view/grey"]).max() <= 1
    assert np.abs(photometry.blur(GOLDEN["image"], 1.0).astype(int) - GOLDEN["view/blur"]).max() <= 1


def test_the_order_of_the_jitter_matters():
    first, second = (photometry.jitter(GOLDEN["image"], 1.4, 0.5, 1, 0, np.array(order))
                     for order in ((0, 1, 2, 3), (1, 0, 2, 3)))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", goldens.ERASINGS)
def test_erased_boxes_are_distributed_as_torchvisions(name):
    (height, width), area, ratio = goldens.ERASINGS[name]
    rng = np.random.default_rng(0)
    boxes = [photometry.erasing_box(height, width, rng.uniform(size=(10, 4)), area, ratio) for _ in range(20_000)]
    kept = [box for box in boxes if box]
    assert len(kept) / len(boxes) == pytest.approx(float(GOLDEN[f"erasing/{name}/share"]), abs=0.01)
    np.testing.assert_allclose(goldens.box_quantiles(np.array(kept), height, width), GOLDEN[f"erasing/{name}"],
                               atol=0.03)


def test_low_resolution_loses_detail_and_keeps_the_size():
    board = np.repeat((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None], 3, 2)
    out = photometry.lower_resolution(board, 0.25, 0.5, 0.3)  # area, then linear
    assert out.shape == board.shape and out.std() < 10 < board.std()
