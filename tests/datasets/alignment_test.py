"""Against insightface's own: goldens/alignment.py."""

import pathlib

import cv2
import numpy as np
import pytest

from geodesic.datasets import alignment
from geodesic.errors import UserError
from tests.datasets.goldens import alignment as golden

GOLDEN = dict(np.load(pathlib.Path(golden.__file__).with_suffix(".npz")))
OPENCV = f"opencv{cv2.__version__[0]}"


def difference(name: str, landmarks: np.ndarray) -> np.ndarray:
    return np.abs(alignment.align(GOLDEN["image"], landmarks).astype(int) - GOLDEN[f"{OPENCV}/{name}"])


@pytest.mark.parametrize("name", golden.FACES)
def test_a_face_is_insightfaces_to_a_level(name):
    assert difference(name, GOLDEN[f"landmarks/{name}"]).max() <= 1


@pytest.mark.parametrize("name", golden.FACES)
def test_a_tenth_of_a_pixel_or_two_points_exchanged_would_be_seen(name):
    landmarks = GOLDEN[f"landmarks/{name}"]
    assert difference(name, landmarks + np.float32(0.1)).max() > 1
    assert difference(name, landmarks[[1, 0, 2, 3, 4]]).mean() > 5


@pytest.mark.parametrize("name", ["at_the_left_edge", "at_the_corner"])
def test_beyond_the_edge_it_is_black(name):
    """As insightface's, to the pixel; and the face at the edge is the part of one that is whole."""
    face, theirs = (pixels.any(axis=2) for pixels in
                    (alignment.align(GOLDEN["image"], GOLDEN[f"landmarks/{name}"]), GOLDEN[f"{OPENCV}/{name}"]))
    assert 0.2 < face.mean() < 0.9
    np.testing.assert_array_equal(face, theirs)
    wider = np.pad(GOLDEN["image"], ((50, 50), (50, 50), (0, 0)))
    np.testing.assert_allclose(alignment.align(wider, GOLDEN[f"landmarks/{name}"] + 50).astype(int),
                               alignment.align(GOLDEN["image"], GOLDEN[f"landmarks/{name}"]), atol=1)


def test_a_similarity_is_undone():
    angle, scale, shift = 0.4, 1.7, np.array([13.0, -4.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    template = alignment.TEMPLATE.astype(np.float64)
    found = alignment.similarity(template @ turn.T + shift, template)
    inverse = np.linalg.inv(turn)
    np.testing.assert_allclose(found, np.column_stack([inverse, -inverse @ shift]), atol=1e-9)


def test_a_mirrored_face_is_not_mirrored_back():
    """A similarity has no reflection: the determinant stays positive."""
    mirrored = alignment.TEMPLATE * [-1, 1]
    assert np.linalg.det(alignment.similarity(mirrored, alignment.TEMPLATE)[:, :2]) > 0


@pytest.mark.parametrize("landmarks", [np.full((5, 2), 9.0), np.full((5, 2), np.nan),
                                       np.where(np.eye(5, 2), np.inf, alignment.TEMPLATE)])
def test_points_of_no_face(landmarks):
    with pytest.raises(UserError, match="are not five points of a face"):
        alignment.align(GOLDEN["image"], landmarks)
