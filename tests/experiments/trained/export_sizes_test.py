"""Files that take pictures of many sizes: what they give is what the network gives; networks with one size are told."""

import jax
import numpy as np
import onnxruntime
import pytest
from jax import export as jax_export

import geodesic
from geodesic.configs import stored
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import embedding, export_sizes, export_wanted, exportable, network
from tests.experiments import drawn, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Weights that average the mirror."""
    folder = tmp_path_factory.mktemp("run")
    config = tiny.config(tiny.faces(folder / "faces", 4, 4), evaluation__average_horizontal_flips=True)
    embedder = network.make_embedder(config.embedder, config.head)
    imported.save(str(folder / "run"), config, jax.jit(lambda: network.init_embedder(embedder, 16, seed=0))(), {})
    return geodesic.load(folder / "run")


def own(run, pictures: np.ndarray) -> np.ndarray:
    """What the network gives for the pictures and for their mirrors, by itself."""
    given = [run.embedder.apply(run.variables, embedding.normalize(images, run.config.input))
             for images in (pictures, pictures[:, :, ::-1])]
    rows = np.asarray(given[0] + given[1])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "stablehlo"])
def test_one_file_for_pictures_of_any_size(run, tmp_path, kind):
    record = run.export(tmp_path, (kind,), free_size=True)
    taken = record["input"]
    assert taken["shape"] == ["batch", "height", "width", 3] and taken["size"] == [16, 16]
    assert (taken["smallest"], taken["multiple_of"]) == (2, 1)  # one stage halves the map
    path, facts = tmp_path / f"model.{kind}", record["files"][f"model.{kind}"]
    if kind == "onnx":
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        compute = lambda pictures: session.run(None, {"images": pictures})[0]
    else:
        compute = jax.jit(jax_export.deserialize(bytearray(path.read_bytes())).call)
    for size in ((16, 16), (19, 30), (2, 5)):
        pictures = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.uint8)
        np.testing.assert_allclose(np.asarray(compute(pictures)), own(run, pictures), atol=1e-5)
    others = facts["parity_of_other_sizes"]
    assert [*others] == ["21 x 13", "13 x 25"] and facts["parity"]["pictures"] == 16
    assert all(found["relative"] < 1e-5 and found["batches"] == [8, 1, 3] for found in others.values())
    photo = np.random.default_rng(1).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    np.testing.assert_allclose(geodesic.load(path).embed([photo]), run.embed([photo]), atol=1e-5)


def test_a_file_that_is_wrong_at_another_size_alone_is_not_kept(run, tmp_path, monkeypatch):
    true = exportable.expected
    monkeypatch.setattr(exportable, "expected", lambda run, wanted, pixels, dtype: {
        name: rows if pixels.shape[1:3] == (16, 16) else rows[:, ::-1]
        for name, rows in true(run, wanted, pixels, dtype).items()})
    with pytest.raises(UserError, match=r"model\.onnx does not give what the model gives"):
        run.export(tmp_path / "out", free_size=True)
    assert not (tmp_path / "out").exists()


def of(**changes):
    return stored.changed(tiny.config(), {name.replace("__", "."): value for name, value in changes.items()})


@pytest.mark.parametrize(("config", "options", "told"), [
    (of(embedder__pooling="flatten"), {}, "tiny flattens its last map, .* pictures of 16 px alone; .* one of stem,"),
    (of(embedder__name="iresnet18", input__image_size=32), {}, "iresnet18 flattens its last map"),
    (of(embedder__stem="imagenet", input__image_size=4), {}, "heights and widths from 8 px on, and the run's .* 4 px"),
    (of(), {"formats": ("safetensors",)}, "weights have no size of pictures"),
    (of(head__name="recurrent"), {}, "one for each row of the map: leave free_size out, or give --formats=stablehlo"),
    (of(head__name="recurrent"), {"formats": ("int8", "stablehlo")}, "one for each row of the map"),
])
def test_networks_with_one_size_are_told_by_their_configuration(config, options, told, tmp_path):
    with pytest.raises(UserError, match=told):
        export_wanted.wanted(config, str(tmp_path / "out"), free_size=True, images=["a.jpg"], **options)


def test_a_detector_has_one_size(tmp_path):
    config = drawn.config(drawn.data(tmp_path / "drawn"))
    with pytest.raises(UserError, match="a detector's points are those of one height and width"):
        export_wanted.wanted(config, str(tmp_path / "out"), free_size=True, layer="stage2")


def sizes(config, output: str = "embedding", layer: str = "") -> export_sizes.Sizes:
    return export_sizes.free(config, network.make_embedder(config.embedder, config.head), output, layer)


def test_the_smallest_side_is_the_stride_up_to_the_layer():
    assert sizes(of(embedder__stem="space_to_depth", input__image_size=32)) == (8, 1, ((41, 25), (25, 49)))
    assert sizes(of(embedder__stem="imagenet"), "map", "stage1") == (4, 1, ((21, 13), (13, 25)))
    flattened = of(embedder__pooling="flatten")
    assert sizes(flattened, "embedding", "stage2").least == 2  # averaged over its map
    assert sizes(of(head__name="attention_pool")).shape == ("height", "width", 3)


@pytest.mark.slow
def test_inception_takes_multiples_of_its_stride():
    found = sizes(of(embedder__name="inception_bn", input__image_size=64))
    assert found == (32, 32, ((96, 64), (64, 96)))
    assert found.shape == ("32*height", "32*width", 3) and found.map == ("height", "width")
    with pytest.raises(UserError, match="from 32 px on, in multiples of 32, and the run's pictures have 112 px"):
        sizes(of(embedder__name="inception_bn", input__image_size=112))


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "options"), [
    ({"embedder.name": "inception_bn", "input.image_size": 32, "embedder.embedding_size": None}, {}),
    ({"embedder.stem": "space_to_depth", "embedder.neck": "bn_fc_bn"}, {}),
    ({"embedder.stem": "deep"}, {"layer": "stage2", "output": "map", "preprocessing": False}),
    ({"embedder.dtype": "bfloat16"}, {}),
    ({"head.name": "recurrent"}, {"formats": ("stablehlo",)}),
])
def test_whole_exports_of_any_size(run, tmp_path, changes, options):
    config = stored.changed(run.config, changes)
    embedder = network.make_embedder(config.embedder, config.head)
    side = config.input.image_size
    imported.save(str(tmp_path / "run"), config, jax.jit(lambda: network.init_embedder(embedder, side, seed=0))(), {})
    record = geodesic.load(tmp_path / "run").export(
        tmp_path / "out", **{"formats": ("onnx", "stablehlo"), "free_size": True} | options)
    assert all(len(facts["parity_of_other_sizes"]) == 2 for facts in record["files"].values())
