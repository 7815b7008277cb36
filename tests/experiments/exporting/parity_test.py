"""Which files are kept: those that give, in a process without this code, what they should."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.exporting import fresh, parity
from tests.experiments.exporting import functions, mutations

WEIGHT = np.random.default_rng(0).standard_normal((12, 5), np.float32)


def linear(x):
    return x.reshape(x.shape[0], -1) @ WEIGHT


def measured(path, pictures, expected):
    return parity.measure(str(path), pictures, {"output": expected})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(functions.model(linear, 2, 2, 3).SerializeToString())
    return path


@pytest.fixture(scope="module")
def images():
    return functions.images(7, 2, 2, 3)


def test_a_faithful_file_is_kept(model, images):
    found = measured(model, images, linear(images))
    assert found.relative < 1e-6 and found.one_minus_cosine < 1e-12 and found.spread > 0.5
    assert found.batches == [7, 1, 3] and found.pictures == 7 and found.runtime.startswith("onnxruntime 1.")
    parity.check(found, "model.onnx")


@pytest.mark.parametrize(("change", "told"), [
    (lambda rows: rows * 1.001, "greatest relative difference over 7 pictures is 1.0e-03"),
    pytest.param(lambda rows: rows[::-1], "does not give what the model gives", marks=pytest.mark.slow),
    pytest.param(lambda rows: rows + np.float32([2e-3, 0, 0, 0, 0]), "does not give what", marks=pytest.mark.slow),
])
def test_other_numbers_are_refused(model, images, change, told):
    found = measured(model, images, change(linear(images)))
    with pytest.raises(UserError, match=told):
        parity.check(found, "model.onnx")


def test_eight_bits_may_be_farther_but_not_anything(model, images):
    """A row off by a right angle's share: 1 - cosine of e away is about e ** 2 / 2."""
    wanted = linear(images)
    away = np.abs(wanted).max(1, keepdims=True) * np.float32([0.05, -0.05, 0.05, -0.05, 0.05])
    found = measured(model, images, wanted + away)
    assert 1e-4 < found.one_minus_cosine < 1e-2
    parity.check(found, "model.int8.onnx", parity.INT8)
    with pytest.raises(UserError, match="does not give what the model gives"):
        parity.check(found, "model.onnx")
    with pytest.raises(UserError, match=r"\(anything allowed\), 1 - cosine .* \(0\.01 allowed\)"):
        parity.check(found._replace(one_minus_cosine=0.02), "model.int8.onnx", parity.INT8)


def found_boxes(rng):
    boxes = rng.uniform(0, 64, (2, 3, 4)).astype(np.float32)
    return [boxes, np.float32([[0.9, 0.5, 0.5], [0.8, 0.3, 0.0]]), np.int32([[0, 1, 1], [1, 0, -1]])]


def test_boxes_of_the_same_score_may_come_in_either_order():
    wanted = found_boxes(np.random.default_rng(0))
    swapped = [array[:, [0, 2, 1]] for array in wanted]
    for found, array in zip(parity._in_order(swapped, wanted), wanted, strict=True):
        np.testing.assert_array_equal(found, array)
    other = [*swapped[:2], np.int32([[0, 1, 0], [1, -1, 0]])]  # another class is not put right
    assert (parity._in_order(other, wanted)[2] != wanted[2]).any()


def test_pictures_in_which_nothing_is_found_are_alike(model, images):
    wanted = linear(images)
    wanted[2] = 0
    found = parity._cosines(wanted.astype(np.float64), wanted.astype(np.float64))
    np.testing.assert_allclose(found, 1)
    assert parity._cosines(wanted[2:3], linear(images)[2:3]) == 0


def test_another_shape_is_refused(model, images):
    with pytest.raises(UserError, match=r"gives \[7, 5\] for 7 picture\(s\), and should give \[7, 4\]"):
        measured(model, images, linear(images)[:, :4])


def changed(model, folder, change):
    """The file with other weights."""
    made = onnx.load(model)
    for array in made.graph.initializer:
        if array.name.endswith("weight"):
            array.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(array).copy()), array.name))
    path = folder / "model.onnx"
    onnx.save(made, path)
    return str(path)


def test_a_number_that_is_not_finite_is_refused(model, images, tmp_path):
    path = changed(model, tmp_path, lambda weight: weight * np.float32(np.inf))
    with pytest.raises(UserError, match="not finite: it is not kept"):
        measured(path, images, linear(images))


def test_a_dead_graph_is_refused_though_the_run_is_dead_too(model, images, tmp_path):
    path = changed(model, tmp_path, lambda weight: 0 * weight)
    found = measured(path, images, 0 * linear(images))
    assert found.relative == 0
    with pytest.raises(UserError, match="nearly the same for all 7 pictures"):
        parity.check(found, "model.onnx")


def test_a_file_that_does_not_run_is_told_in_a_line(images, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"model\.onnx does not run in a process of its own, and is not kept: .*\w"):
        measured(path, images, linear(images))


def test_the_fresh_process_would_notice_this_code(model, images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    with pytest.raises(SystemExit, match="should not know geodesic"):  # this process does
        fresh.main(str(model), str(tmp_path / "images.npy"), str(tmp_path / "out.npz"), "7")


def exported(name: str, size: int, **fields):
    """(the model of a network that averages the mirror, pictures, what it should give)."""
    embed = functions.embedder(name, size, **fields)

    def function(pixels):
        images = (pixels.astype(jnp.float32) - np.float32([124, 116, 104])) / np.float32([58, 57, 56])
        rows = (embed(images) + embed(jnp.flip(images, 2))) / 2
        return rows / jnp.maximum(jnp.sqrt(jnp.sum(rows * rows, axis=-1, keepdims=True)), 1e-20)

    faces = datasets.build("orl_faces", classes=(0, 32))
    pixels = np.stack([cv2.resize(datasets.decode(faces[place]), (size, size)) for place in range(0, 320, 10)])
    return functions.model(function, size, size, 3, dtype=np.uint8), pixels, np.asarray(jax.jit(function)(pixels))


@pytest.mark.slow
def test_forty_faults_of_exporters_are_all_caught(tmp_path, capsys):
    models = ((mutations.RESNET, 31, exported("resnet18", 64, stage_sizes=(1, 1, 1, 1), neck="layer_norm",
                                              embedding_size=16)),
              (mutations.INCEPTION, 9, exported("inception_bn", 64)))
    path, missed, done = tmp_path / "model.onnx", [], 0
    for kinds, count, (model, pixels, expected) in models:
        path.write_bytes(model.SerializeToString())
        parity.check(measured(path, pixels, expected), "as it was")
        for seed in range(count):
            change, mutated = kinds[seed % len(kinds)], onnx.ModelProto()
            mutated.CopyFrom(model)
            change(mutated, np.random.default_rng(seed))
            assert mutated.SerializeToString() != model.SerializeToString(), change.__name__
            path.write_bytes(mutated.SerializeToString())
            done += 1
            try:
                found = measured(path, pixels, expected)
                parity.check(found, "model.onnx")
                missed.append((change.__name__, seed, found.relative))
            except UserError as error:
                print(f"{change.__name__:>26} {seed:2}  {error}")
    with capsys.disabled():
        print(f"\n{done - len(missed)} of {done} faults caught")
    assert done == 40 and not missed, missed
