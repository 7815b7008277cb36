"""The benchmark's maps are the product's, and its mosaics and boxes are what they are said to be."""

import json
import types

import numpy as np
import PIL.Image
import pytest

from benchmarks import pointing, pointing_maps
from geodesic.experiments.trained import attribution
from tests.experiments.trained import attribution_test


def test_the_maps_are_those_of_explain(tmp_path):
    run = attribution_test.loaded(tmp_path, evaluation__layer="stage2")
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    found, maps = attribution.pair(run, *images), run.features(images, "stage2")
    query = maps[1:].mean(axis=(1, 2))
    np.testing.assert_allclose(pointing_maps.similarity(maps[:1], query)[0], found.maps[0], atol=1e-6)
    np.testing.assert_allclose(pointing_maps.grad_cam(maps[:1], query)[0], found.gradients[0], atol=1e-6)


def test_a_centred_map_sums_to_the_centred_cosine():
    rng = np.random.default_rng(1)
    maps, queries, mean = rng.normal(size=(3, 2, 4, 5)), rng.normal(size=(3, 5)), rng.normal(size=5)
    one, other = maps.mean(axis=(1, 2)) - mean, queries - mean
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    np.testing.assert_allclose(pointing_maps.similarity(maps, queries, mean).sum(axis=(1, 2)), cosines)


def test_mosaics_are_of_different_classes_and_queries_are_other_photographs():
    labels = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6])
    photos, queries = pointing.drawn(labels, 4, 50, 0)
    assert (labels[photos] == labels[queries]).all() and (photos != queries).all() and 0 not in photos
    assert all(len(set(row)) == 4 for row in labels[photos])
    again, other = (pointing.drawn(labels, 4, 50, seed)[0] for seed in (0, 1))
    assert (again == photos).all() and (other != photos).any()


def test_a_tile_is_where_its_box_is():
    views = np.arange(4, dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(2, 2)
    assert pointing.tiled(views)[..., 0].tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2
    assert pointing.tiled(views[:2])[..., 0].tolist() == [[0, 0, 1, 1]] * 2


def test_photographs_whose_cells_overlap_and_those_without_are_left_out(tmp_path):
    boxes = {1: [[4, 6, 8, 12]], 2: [[0, 0, 9, 9], [5, 5, 9, 9]], 3: [], 4: [[0, 0, 5, 5], [5, 5, 9, 9]]}
    (tmp_path / "images").mkdir()
    for number in boxes:
        PIL.Image.new("RGB", (40, 30)).save(tmp_path / "images" / f"{number}.png")
    record = {"categories": [{"id": 7, "name": "WBC"}, {"id": 8, "name": "RBC"}],
              "images": [{"id": number, "file_name": f"{number}.png", "width": 40, "height": 30} for number in boxes],
              "annotations": [{"image_id": number, "category_id": 7, "bbox": box}
                              for number, some in boxes.items() for box in some]
              + [{"image_id": 1, "category_id": 8, "bbox": [5, 7, 9, 9]}]}
    (tmp_path / "test.json").write_text(json.dumps(record))
    first, fourth = pointing._cells_of(types.SimpleNamespace(cells=str(tmp_path), cell="WBC"), "test")
    assert first[0].shape == (30, 40, 3) and first[1].tolist() == [[0.1, 0.2, 0.3, 0.6]] and len(fourth[1]) == 2


def test_the_tables_have_what_there_is():
    share, environment = [0.5, 0.25, 0.75], {"devices": "1 x cpu", "machine": "x", "packages": {"jax": "1"},
                                             "date": "2000-01-01T", "commit": "0"}
    record = {"weights": "resnet50", "environment": environment, "commits": {"mosaics": "0", "cells": "1"},
              "options": pointing.USUAL | {"pairs": 4}, "parts": {
        "mosaics": {"mosaics": 2, "games": 4, "networks": {"trained": {pointing.CHOSEN: share, "stage3": share},
                                                           "untrained": {pointing.CHOSEN: share, "stage3": share}}}}}
    table = pointing.described(record)
    assert f"| {pointing.CHOSEN} **(chosen on val)** | 0.500 (0.250 to 0.750) | 0.500 (0.250 to 0.750) |" in table
    assert "`python -m benchmarks.pointing --pairs=4`" in table and "white blood" not in table
    with pytest.raises(KeyError):
        pointing.described(record | {"parts": {"cells": {}}})
