import cv2
import numpy as np
import pytest

from geodesic import datasets
from geodesic.datasets import alignment


def folder(tmp_path, faces=3):
    root = tmp_path / "IJBB"
    (root / "meta").mkdir(parents=True)
    (root / "loose_crop").mkdir()
    rng = np.random.default_rng(0)
    for index in range(faces):
        cv2.imwrite(str(root / "loose_crop" / f"{index}.jpg"), rng.integers(0, 256, (120, 120, 3), np.uint8))
    points = " ".join(f"{value:.4f}" for value in alignment.TEMPLATE.ravel())
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


def test_landmarks_of_no_face_are_of_one_image(tmp_path):
    root = folder(tmp_path)
    listed = root / "meta" / "ijbb_name_5pts_score.txt"
    listed.write_text(listed.read_text().replace("0.jpg " + " ".join(f"{value:.4f}" for value in
                                                                     alignment.TEMPLATE.ravel()), "0.jpg" + " 7" * 10))
    source = datasets.build("ijb", path=str(root))
    with pytest.raises(ValueError, match=r"cannot read the image .*0\.jpg: the landmarks .* are not five points"):
        source[0]
    assert source[1]["image"].shape == (112, 112, 3)


@pytest.mark.parametrize(("name", "line"), [
    ("template_pair_label", "7 8 x"), ("face_tid_mid", "0.jpg 7.5 0"),
    ("name_5pts_score", "0.jpg " + "1 " * 10 + "high")])
def test_a_line_with_what_is_no_number_is_named(name, line, tmp_path):
    path = folder(tmp_path) / "meta" / f"ijbb_{name}.txt"
    path.write_text("\n".join([line, *path.read_text().splitlines()[1:]]))
    with pytest.raises(ValueError, match=f"{name}.txt, line 1: "):
        datasets.build("ijb", path=str(tmp_path / "IJBB"))
