"""Suppression inside an ONNX file against the library's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from geodesic.experiments.exporting import suppression, write
from geodesic.heads.detection import nms
from tests.experiments.exporting import functions

LEVELS, CLASSES = (40, 8), 3


def points(x):
    """Boxes f32[B,48,4] and scores f32[B,48,3], which an image f32[B,48,1,7] holds."""
    return x[:, :, 0, :4], x[:, :, 0, 4:]


def images():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 20, (3, 48, 1, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 15, (3, 48, 1, 2))], -1)
    found = np.concatenate([boxes, rng.uniform(0, 1, (3, 48, 1, CLASSES))], -1).astype(np.float32)
    found[1, ..., 4:] *= 0.1  # an image in which little is found
    return found


def expected(boxes, scores, smallest, candidates, kept):
    """By the library, of one image."""
    rows, start = [], 0
    for size in LEVELS:
        flat = scores[start:start + size].reshape(-1)
        for place in np.argsort(-flat)[:candidates]:
            rows.append((start + place // CLASSES, place % CLASSES,
                         flat[place] if flat[place] > smallest else -np.inf))
        start += size
    point, label, score = map(np.array, zip(*rows, strict=True))
    places, best = nms.nms(jnp.asarray(boxes[point]), jnp.asarray(score, jnp.float32), jnp.asarray(label),
                           threshold=0.4, kept=kept)
    there = np.asarray(places) >= 0
    return (np.where(there[:, None], boxes[point[places]], 0), np.where(there, best, 0),
            np.where(there, label[places], -1))


@pytest.mark.parametrize(("smallest", "candidates", "kept"), [
    (0.05, 1000, 10), (0.3, 12, 40), pytest.param(0.0, 1000, 200, marks=pytest.mark.slow)])
def test_what_is_left_is_what_the_library_leaves(smallest, candidates, kept):
    given = images()
    made = write.onnx_model(points, (48, 1, 7), np.float32, suppression.POINTS, {})
    suppression.suppressed(made, LEVELS, threshold=0.4, smallest=smallest, candidates=candidates, kept=kept)
    boxes, scores, classes = functions.arrays(made, given)
    assert [array.dtype for array in (boxes, scores, classes)] == [np.float32, np.float32, np.int32]
    for row, image in enumerate(given):
        wanted = expected(*(np.asarray(array[0]) for array in jax.device_get(points(image[None]))), smallest,
                          candidates, kept)
        np.testing.assert_allclose(boxes[row], wanted[0], rtol=1e-6)
        np.testing.assert_allclose(scores[row], wanted[1], rtol=1e-6)
        np.testing.assert_array_equal(classes[row], wanted[2])
        assert (classes[row] >= 0).any() != (row == 1 and smallest > 0.1)
