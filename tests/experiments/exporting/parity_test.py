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


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(functions.model(linear, 2, 2, 3).SerializeToString())
    return path


@pytest.fixture(scope="module")
def images():
    return functions.images(7, 2, 2, 3)


def test_a_faithful_file_is_kept(model, images):
    found = parity.measure(str(model), images, linear(images))
    assert found.relative < 1e-6 and found.one_minus_cosine < 1e-12 and found.spread > 0.5
    assert found.batches == [7, 1, 3] and found.pictures == 7 and found.runtime.startswith("onnxruntime 1.")
    parity.check(found, "model.onnx")


@pytest.mark.parametrize(("change", "told"), [
    (lambda rows: rows * 1.001, "greatest relative difference over 7 pictures is 1.0e-03"),
    pytest.param(lambda rows: rows[::-1], "does not give what the model gives", marks=pytest.mark.slow),
    pytest.param(lambda rows: rows + np.float32([2e-3, 0, 0, 0, 0]), "does not give what", marks=pytest.mark.slow),
])
def test_other_numbers_are_refused(model, images, change, told):
    found = parity.measure(str(model), images, change(linear(images)))
    with pytest.raises(UserError, match=told):
        parity.check(found, "model.onnx")


def test_another_shape_is_refused(model, images):
    with pytest.raises(UserError, match=r"gives \[7, 5\] for 7 picture\(s\), and should give \[7, 4\]"):
        parity.measure(str(model), images, linear(images)[:, :4])


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
        parity.measure(path, images, linear(images))


def test_a_dead_graph_is_refused_though_the_run_is_dead_too(model, images, tmp_path):
    path = changed(model, tmp_path, lambda weight: 0 * weight)
    found = parity.measure(path, images, 0 * linear(images))
    assert found.relative == 0
    with pytest.raises(UserError, match="nearly the same for all 7 pictures"):
        parity.check(found, "model.onnx")


def test_a_file_that_does_not_run_is_told_in_a_line(images, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"model\.onnx does not run in a process of its own, and is not kept: .*\w"):
        parity.measure(str(path), images, linear(images))


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
        parity.check(parity.measure(str(path), pixels, expected), "as it was")
        for seed in range(count):
            change, mutated = kinds[seed % len(kinds)], onnx.ModelProto()
            mutated.CopyFrom(model)
            change(mutated, np.random.default_rng(seed))
            assert mutated.SerializeToString() != model.SerializeToString(), change.__name__
            path.write_bytes(mutated.SerializeToString())
            done += 1
            try:
                found = parity.measure(str(path), pixels, expected)
                parity.check(found, "model.onnx")
                missed.append((change.__name__, seed, found.relative))
            except UserError as error:
                print(f"{change.__name__:>26} {seed:2}  {error}")
    with capsys.disabled():
        print(f"\n{done - len(missed)} of {done} faults caught")
    assert done == 40 and not missed, missed
