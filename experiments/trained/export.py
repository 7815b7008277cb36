"""A trained model as files that other programs run: ONNX, StableHLO, and public weights as safetensors.

A file is kept where a process of its own, without this code, computes from it what the run computes on its CPU. Beside
the files lies model.json: what they take and give, where they come from, and how near they came.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from geodesic import datasets
from geodesic.datasets import transforms
from geodesic.embedders.cpu import backend
from geodesic.embedders.public_weights import pretrained, publish, weight_files
from geodesic.errors import UserError
from geodesic.experiments.exporting import parity
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import embedding, inputs, network, thresholds
from geodesic.metrics import retrieval

SCHEMA, VERSION = "geodesic.export", 1
RECORD = "model.json"
# Format -> the file, and the packages that it takes to write and to check it.
FORMATS = {"onnx": ("model.onnx", ("onnx", "onnxruntime")), "stablehlo": ("model.stablehlo", ("flatbuffers",)),
           "safetensors": ("model.safetensors", ())}
OUTPUTS = ("embedding", "scores", "map")
# A picture that everybody can make, for the record's golden pair, and how many of its numbers are kept.
GOLDEN, GOLDEN_NUMBERS = "pixel (y, x, c) = (7 * y + 13 * x + 101 * c + x * y) mod 256", 4096


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is exported, and where to. output: one of OUTPUTS. layer: of `Run.layers`, "" is the embedding. shape: of
    what the layer gives for one image. source: of the pictures to compare on; None where no file computes anything."""

    out: str
    formats: tuple[str, ...]
    output: str
    layer: str
    shape: tuple[int, ...]
    preprocessing: bool
    source: datasets.Source | None


def wanted(config, out: str, formats: Iterable[str] = ("onnx",), *, layer: str | None = None, output: str = "embedding",
           preprocessing: bool = True, images=None) -> Wanted:
    """What is asked for of a run with this configuration; the arguments are those of `Run.export`.

    Raises UserError for what cannot be exported: it needs no weights, so that nothing is loaded in vain.
    """
    formats = tuple(dict.fromkeys(formats))
    if unknown := [kind for kind in formats if kind not in FORMATS]:
        raise UserError(f"unknown format {unknown[0]!r}; known: {', '.join(FORMATS)}")
    if not formats:
        raise UserError(f"no format is given: name one or more of {', '.join(FORMATS)}")
    if output not in OUTPUTS:
        raise UserError(f"output is one of {', '.join(OUTPUTS)}; got {output!r}")
    if config.task == "detection":
        raise UserError("a detector cannot be exported: its trunk can, as a run of another task")
    missing = [name for kind in formats for name in FORMATS[kind][1] if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"exporting {', '.join(formats)} needs {' and '.join(missing)}: pip install 'geodesic[export]'")
    storage.check_new_folder(out)
    embedder = network.make_embedder(config.embedder, config.head)
    layer, shape = _layer(config, embedder, output, layer)
    if "safetensors" in formats:
        publish.layout_of(config.embedder.name, embedder)
    return Wanted(out, formats, output, layer, shape, preprocessing,
                  None if formats == ("safetensors",) else _source(config, images))


def _layer(config, embedder, output: str, layer: str | None) -> tuple[str, tuple[int, ...]]:
    """(the layer that is taken, the shape of what it gives for one image)."""
    known = network.layers(embedder, config.input.image_size)
    if output == "scores" and layer:
        raise UserError(f"output 'scores' is of the embedding, and layer {layer!r} is given too: leave one out")
    layer = "" if output == "scores" else config.evaluation.layer if layer is None else layer
    if output == "map" and not layer:
        raise UserError(f"output 'map' is a named layer as it is: give a layer, one of {', '.join(known)}")
    if layer and layer not in known:
        raise UserError(f"{config.embedder.name} has no layer {layer!r}; it has {', '.join(known)}")
    return layer, known[layer or "embedding"]


def _source(config, images) -> datasets.Source:
    """Of the given pictures, or the run's test data."""
    if images is not None:
        return inputs.as_source(images)
    try:
        return datasets.build(**config.test_data)
    except (OSError, UserError) as error:
        raise UserError(f"the run's test data cannot be read ({error}): give --images, real pictures that the files "
                        f"are compared on") from error


def export(run, wanted: Wanted, say: Callable[[str], None] = lambda line: None) -> dict:
    """Writes what is wanted of a run, whose configuration it was asked of; gives the record that lies beside the files.

    say: told of each file. Raises UserError where a file does not give what the run gives; then nothing is written.
    """
    record, contents, expected = _record(run, wanted), {}, {}
    pixels = None if wanted.source is None else _pixels(wanted.source, run.config.input)
    for kind in wanted.formats:
        name = FORMATS[kind][0]
        if kind == "safetensors":
            contents[name], facts = _weights(run, wanted)
        else:
            dtype, begun = "float32" if kind == "onnx" else run.config.embedder.dtype, time.perf_counter()
            contents[name], facts = _graph(run, wanted, kind, dtype)
            facts["seconds"] = round(time.perf_counter() - begun, 2)
            if dtype not in expected:
                expected[dtype] = _expected(run, wanted, pixels, dtype)
            # The last one is the golden picture.
            found = _proven(name, contents[name], _as_taken(run, wanted, pixels[:-1]), expected[dtype][:-1])
            facts["parity"] = found._asdict() | {"allowed": {"relative": parity.RELATIVE,
                                                             "one_minus_cosine": parity.COSINE}}
        facts = {"sha256": hashlib.sha256(contents[name]).hexdigest(), "bytes": len(contents[name]), **facts}
        record["files"][name] = facts
        say(f"{name}: {describe(facts)}")
    if expected:
        rows = expected.get("float32", expected.get("bfloat16"))
        record["golden"] = _golden(_as_taken(run, wanted, pixels[-1:]), rows[-1])
    for name, content in contents.items():
        storage.write(os.path.join(wanted.out, name), content)
    workdirs.write_json(os.path.join(wanted.out, RECORD), record)
    return record


def describe(facts: dict) -> str:
    """A file of a record in a line."""
    parts = [f"{facts['bytes'] / 2**20:.1f} MiB"]
    parts += [f"{facts['nodes']} nodes of ONNX {facts['opset']}"] if "nodes" in facts else []
    parts += [f"in the layout of {facts['layout']}"] if "layout" in facts else []
    parts += [f"without {', '.join(facts['left_out'])}, which it has no place for"] if facts.get("left_out") else []
    if found := facts.get("parity"):
        parts.append(f"{found['runtime']} on {found['pictures']} pictures: greatest relative difference "
                     f"{found['relative']:.1e}, 1 - cosine {found['one_minus_cosine']:.1e}")
    return ", ".join(parts)


def _pixels(source: datasets.Source, options) -> np.ndarray:
    """u8[N+1,S,S,3]: so many pictures as are looked at, of all parts of the source; and last the golden picture."""
    found, size = [], options.image_size
    for place in np.unique(np.linspace(0, len(source) - 1, parity.PICTURES).astype(int)):
        with contextlib.suppress(UserError, OSError):  # others show it too
            found.append(transforms.eval_view(source[int(place)], options))
    if len(found) < 2:
        raise UserError(f"{len(found)} of {len(source)} pictures can be read: give --images, real pictures that the "
                        f"files are compared on")
    y, x, c = np.ogrid[:size, :size, :3]
    return np.stack([*found, ((7 * y + 13 * x + 101 * c + x * y) % 256).astype(np.uint8)])


def _expected(run, wanted: Wanted, pixels: np.ndarray, dtype: str) -> np.ndarray:
    """What a file should give for pixels u8[N,S,S,3]: by the run's own program, on the CPU."""
    try:
        mesh = meshes.make(jax.devices("cpu")[:1])
    except RuntimeError as error:
        raise UserError("files are compared on the CPU, which jax does not have here: set JAX_PLATFORMS=cuda,cpu or "
                        "the like") from error
    # Sums of bfloat16 depend on the form of a convolution: there it is the exported one.
    embedder = run.embedder.clone(dtype=dtype) if dtype == "float32" else _native(run, dtype)
    step = embedding.make_embed_step(
        embedder, mesh, run.config.input, layer=wanted.layer, pooled=wanted.output != "map",
        average_horizontal_flips=run.config.evaluation.average_horizontal_flips)
    with backend.compiling_for("tpu" if dtype != "float32" else backend.name()):
        rows = np.asarray(step(meshes.replicate(mesh, run.variables), meshes.put_batch(mesh, pixels)))
    if wanted.output == "scores":
        return run.classifier.predict(rows)
    return retrieval.normalized(rows) if wanted.output == "embedding" else rows


def _as_taken(run, wanted: Wanted, pixels: np.ndarray) -> np.ndarray:
    """Pixels u8[N,S,S,3] as the file takes them."""
    return pixels if wanted.preprocessing else embedding.normalize(pixels, run.config.input)


def _native(run, dtype: str):
    """The network with convolutions in the form that all compilers know."""
    fields = {"convolution": "native", "dtype": dtype}
    if getattr(run.embedder, "stem", "") == "space_to_depth":
        fields["stem"] = "imagenet"  # the same parameters and values
    return run.embedder.clone(**fields)


def make_function(run, wanted: Wanted, dtype: str) -> Callable:
    """The function of images that is exported, with its weights; to be traced for an accelerator."""
    config, variables = run.config, jax.tree.map(np.asarray, run.variables)
    embed = embedding.make_embed(
        _native(run, dtype), config.input if wanted.preprocessing else None, layer=wanted.layer,
        pooled=wanted.output != "map", average_horizontal_flips=config.evaluation.average_horizontal_flips)
    loss, params = run.classifier if wanted.output == "scores" else (None, None)

    def function(images):
        with backend.compiling_for("tpu"):
            rows = embed(variables, images)
        if loss is not None:
            scores = loss.scores(params, rows)
            return scores if loss.probabilities is None else loss.probabilities(scores)
        if wanted.output == "map":
            return rows
        length = jnp.sqrt(jnp.sum(rows * rows, axis=-1, keepdims=True))
        return rows / jnp.maximum(length, np.finfo(np.float32).tiny)

    return function


def _graph(run, wanted: Wanted, kind: str, dtype: str) -> tuple[bytes, dict]:
    """(the file of one of the formats that compute, facts about it)."""
    shape, taken = (run.config.input.image_size,) * 2 + (3,), np.uint8 if wanted.preprocessing else np.float32
    function = make_function(run, wanted, dtype)
    if kind == "stablehlo":
        from geodesic.experiments.exporting import stablehlo

        loader = stablehlo.LOADER.format(shape=(1, *shape), dtype=np.dtype(taken).name)
        return stablehlo.serialized(function, shape, taken), {"dtype": dtype, "platforms": stablehlo.PLATFORMS,
                                                              "loader": loader.splitlines()}
    from geodesic.experiments.exporting import lower, write

    model = write.onnx_model(function, shape, taken, wanted.output, {"checkpoint": run.digest, "record": RECORD})
    return model.SerializeToString(), {"dtype": dtype, "opset": lower.OPSET, "nodes": len(model.graph.node),
                                       "onnx": importlib.metadata.version("onnx")}


def _proven(name: str, content: bytes, images: np.ndarray, expected: np.ndarray) -> parity.Parity:
    """Raises UserError where the file does not give what is expected."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        storage.write(path, content)
        found = parity.measure(path, images, expected)
    parity.check(found, name)
    return found


def _weights(run, wanted: Wanted) -> tuple[bytes, dict]:
    """(public weights, facts about them), read again by the importer and the same to the bit."""
    head, name, left_out = None, run.config.embedder.name, []
    if wanted.output == "scores":
        params = run.classifier.params
        if {*params} == {"prototypes", "bias"}:
            head = {"kernel": params["prototypes"].T, "bias": params["bias"]}
        else:
            left_out = [publish.CLASSIFIER]
    made = publish.convert(run.variables, name, run.embedder, head)
    content = publish.safetensors(made.tensors, {"format": "pt", "checkpoint": run.digest})
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        storage.write(path, content)
        again = pretrained.inspect(weight_files.read(path), name)
    written, found = (traverse_util.flatten_dict(tree, sep="/") for tree in (run.variables, again.variables))
    for path, values in written.items():
        above = path.partition("/")[2].startswith(("neck", "head")) and not made.layout.neck
        if not above and (path not in found or np.asarray(values).tobytes() != found[path].tobytes()):
            raise AssertionError(f"{path} is not read as it was written")
    return content, {"layout": made.layout.name, "tensors": len(made.tensors), "left_out": made.left_out + left_out,
                     "channel_order": made.layout.preprocessing.channel_order}


def _golden(taken: np.ndarray, output: np.ndarray) -> dict:
    """A picture that everybody can make, as the file takes it, and what the model gives for it."""
    return {"picture": GOLDEN, "sha256": hashlib.sha256(taken.tobytes()).hexdigest(), "numbers": output.size,
            "output": [float(f"{number:.7g}") for number in output.reshape(-1)[:GOLDEN_NUMBERS]]}


def _record(run, wanted: Wanted) -> dict:
    """model.json before any file is in it."""
    options, taken = run.config.input, np.dtype(np.uint8 if wanted.preprocessing else np.float32)
    scores, shape = wanted.output == "scores", wanted.shape
    if wanted.output != "map":
        shape = (run.classifier.num_classes if scores else shape[-1],)
    model = run.classifier_identity if scores else run.identity | {"layer": wanted.layer}
    return {
        "schema": SCHEMA, "version": VERSION, "model": model,
        "input": {"name": "images", "dtype": taken.name, "shape": ["batch", options.image_size, options.image_size, 3],
                  "channels": "last, red first", "preprocessing_inside": wanted.preprocessing,
                  "fit": options.fit, "resize_size": options.resize_size, "mean": list(options.mean),
                  "std": list(options.std)},
        "output": {"name": wanted.output, "shape": ["batch", *shape], "layer": wanted.layer,
                   "normalized": wanted.output == "embedding",
                   "mirror_averaged": run.config.evaluation.average_horizontal_flips,
                   "probabilities": scores and run.classifier.loss.probabilities is not None},
        "class_names": run.class_names if scores else None,
        "thresholds": _thresholds(run, model) if wanted.output == "embedding" else [],
        "files": {}, "made": workdirs.environment(run.mesh.devices.reshape(-1).tolist())}


def _thresholds(run, identity: dict) -> list[dict]:
    """Those that `geodesic calibrate` has set for this very model and layer."""
    try:
        return thresholds.entries(run.workdir) if thresholds.load(run.workdir, identity) else []
    except UserError:  # of another checkpoint, layer or preprocessing
        return []
