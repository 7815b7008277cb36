import cv2
import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets.sources import ijb


def folder(tmp_path, faces=3):
    root = tmp_path / "IJBB"
    (root / "meta").mkdir(parents=True)
    (root / "loose_crop").mkdir()
    rng = np.random.default_rng(0)
    for index in range(faces):
        cv2.imwrite(str(root / "loose_crop" / f"{index}.jpg"), rng.integers(0, 256, (120, 120, 3), np.uint8))
    points = " ".join(f"{value:.4f}" for value in ijb.LANDMARKS.ravel())
    write = lambda name, lines: (root / "meta" / f"ijbb_{name}.txt").write_text("\n".join(lines) + "\n")
    write("name_5pts_score", [f"{index}.jpg {points} 0.9" for index in range(faces)])
    write("face_tid_mid", [f"{index}.jpg {7 + index // 2} {index}" for index in range(faces)])
    write("template_pair_label", ["7 8 0", "7 7 1"])
    return root


def test_templates_media_and_pairs(tmp_path):
    source = datasets.build("ijb", path=str(folder(tmp_path)))
    assert source.templates.tolist() == [7, 7, 8] and source.media.tolist() == [0, 1, 2]
    assert source.pairs.tolist() == [[7, 8], [7, 7]] and source.same.tolist() == [False, True]
    record = source[2]
    assert record["image"].shape == (112, 112, 3) and record["label"] == 1
    # Landmarks that lie where they should: the crop is the picture's own corner.
    np.testing.assert_allclose(record["image"].astype(int), cv2.cvtColor(
        cv2.imread(source.paths[2]), cv2.COLOR_BGR2RGB)[:112, :112], atol=1)


def test_a_bad_line_is_named(tmp_path):
    root = folder(tmp_path)
    (root / "meta" / "ijbb_template_pair_label.txt").write_text("7 8 0\n7\n")
    with pytest.raises(ValueError, match="line 2: expected 3 fields"):
        datasets.build("ijb", path=str(root))
    (root / "meta" / "ijbb_face_tid_mid.txt").unlink()
    with pytest.raises(FileNotFoundError, match="face_tid_mid"):
        datasets.build("ijb", path=str(root))


def test_the_alignment_undoes_a_similarity():
    angle, scale, shift = 0.4, 1.7, np.array([13.0, -4.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = ijb.similarity(ijb.LANDMARKS @ turn.T + shift, ijb.LANDMARKS)
    inverse = np.linalg.inv(turn)
    np.testing.assert_allclose(found, np.column_stack([inverse, -inverse @ shift]), atol=1e-9)


def test_a_mirrored_face_is_not_mirrored_back():
    """A similarity has no reflection: the determinant stays positive."""
    mirrored = ijb.LANDMARKS * [-1, 1]
    assert np.linalg.det(ijb.similarity(mirrored, ijb.LANDMARKS)[:, :2]) > 0
