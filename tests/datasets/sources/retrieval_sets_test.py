import codecs

import numpy as np
import pytest
import scipy.io

from geodesic import datasets


def test_stanford_online_products(tmp_path):
    (tmp_path / "Ebay_test.txt").write_text("image_id class_id super_class_id path\n"
                                            "1 11319 1 bicycle_final/a_0.JPG\n2 11319 1 bicycle_final/a_1.JPG\n"
                                            "3 11320 2 lamp_final/b_0.JPG\n")
    source = datasets.build("sop", path=f"{tmp_path}#test")
    assert source.labels.tolist() == [0, 0, 1] and source.class_names == ["11319", "11320"]
    assert source.paths[2] == str(tmp_path / "lamp_final/b_0.JPG")
    with pytest.raises(FileNotFoundError, match="Ebay_train"):
        datasets.build("sop", path=f"{tmp_path}#train")
    with pytest.raises(ValueError, match=r"give one of .*#train, .*#test"):
        datasets.build("sop", path=str(tmp_path))
    (tmp_path / "Ebay_train.txt").write_text("image_id class_id super_class_id path\n1 2 3\n")
    with pytest.raises(ValueError, match="line 2: expected 'image_id"):
        datasets.build("sop", path=f"{tmp_path}#train")


def test_in_shop_splits_and_shared_names(tmp_path):
    (tmp_path / "Eval").mkdir()
    (tmp_path / "Eval" / "list_eval_partition.txt").write_text(
        "4\nimage_name item_id evaluation_status\nimg/a.jpg id_1 train\nimg/b.jpg id_7 query\n"
        "img/c.jpg id_8 gallery\nimg/d.jpg id_7 gallery\n")
    splits = {name: datasets.build("in_shop", path=f"{tmp_path}#{name}") for name in ("train", "query", "gallery")}
    assert [source.class_names for source in splits.values()] == [["id_1"], ["id_7"], ["id_8", "id_7"]]
    assert splits["gallery"].paths == [str(tmp_path / "img/c.jpg"), str(tmp_path / "img/d.jpg")]


def test_lists_with_a_mark_and_splits_that_are_none(tmp_path):
    (tmp_path / "a#b").mkdir()
    lines = "2\nimage_name item_id evaluation_status\nimg/\xe9.jpg id_1 train\n".encode("latin-1")
    (tmp_path / "a#b" / "list_eval_partition.txt").write_bytes(codecs.BOM_UTF8 + lines)
    source = datasets.build("in_shop", path=f"{tmp_path}/a#b#train")
    assert source.class_names == ["id_1"] and source.paths == [str(tmp_path / "a#b" / "img/\udce9.jpg")]
    (tmp_path / "a#b" / "list_eval_partition.txt").write_bytes(lines + b"img/b.jpg id_1 Train\n")
    with pytest.raises(ValueError, match="line 4: the split 'Train'; expected train, query, gallery"):
        datasets.build("in_shop", path=f"{tmp_path}/a#b#train")


def test_cars196(tmp_path):
    annotations = np.array([("car_ims/000001.jpg", 1), ("car_ims/000002.jpg", 2), ("car_ims/000003.jpg", 2)],
                           dtype=[("relative_im_path", "O"), ("class", "O")])
    scipy.io.savemat(tmp_path / "cars_annos.mat", {"annotations": annotations,
                                                   "class_names": np.array(["AM General", "Acura"], object)})
    source = datasets.build("cars196", path=str(tmp_path))
    assert source.labels.tolist() == [0, 1, 1] and source.class_names == ["AM General", "Acura"]
    assert source.paths[0] == str(tmp_path / "car_ims/000001.jpg")
    (tmp_path / "cars_annos.mat").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="not the list of Cars196"):
        datasets.build("cars196", path=str(tmp_path))
