"""An exported file at work: what `geodesic.load` gives of model.onnx, model.int8.onnx or model.stablehlo, by model.json
beside it."""

import functools
import hashlib
import importlib.util
import os
import types
from collections.abc import Callable

import jax
import numpy as np

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import detecting, embedding, export, inputs, thresholds
from geodesic.heads.detection import postprocess

EXTENSIONS = (".onnx", ".stablehlo")
_BATCH = 32


class Exported:
    """A file that embeds, or scores, as the run does that it was exported from; images come in any form that a run
    takes.

    It has no `features`, no `layers`, no `predict` and no variables: a file gives one thing. path: of the file. record:
    the content of model.json. identity: as of the run. compute: the file itself, from images as it takes them to a list
    of arrays.
    """

    def __init__(self, path: str, record: dict, compute: Callable[[np.ndarray], list[np.ndarray]]):
        self.path, self.record, self.identity, self.compute = path, record, record["model"], compute
        self._input = types.SimpleNamespace(**record["model"]["input"])
        # What a file of eight bits gives for an image depends on those beside it.
        self._alone = record["files"][os.path.basename(path)]["dtype"] == "int8"

    def __repr__(self) -> str:
        given = self.record["output"]
        return f"<geodesic export {self.path!r}: {self._input.image_size} px -> {given['name']} {given['shape'][1:]}>"

    def embed(self, images, *, normalized: bool = True) -> np.ndarray:
        """f32[N,D], of length 1. Raises UserError where the file gives something else, and for images that cannot be
        read; what has left the network before its length was taken, the file does not tell."""
        self._must_give("embedding")
        if not normalized:
            raise UserError(f"{self.path} gives embeddings of length 1: others, the run gives itself")
        return self._rows(images)

    def embed_source(self, source: datasets.Source, progress: Callable[[int], None] = lambda images: None
                     ) -> embedding.Embedded:
        """Every image of a source, as of `embed`; images that cannot be read are reported, not fatal."""
        self._must_give("embedding")
        return self._given(source, progress)

    def cosine(self, one, other) -> float:
        """The cosine of the embeddings of two images."""
        first, second = self.embed([one, other])
        return float(first @ second)

    def same(self, one, other, far: float = 0.0) -> bool:
        """Whether two images show one identity, as of `Run.same`."""
        return self.cosine(one, other) >= self.threshold_of(far)["threshold"]

    def threshold_of(self, far: float = 0.0) -> dict:
        """The threshold of this false accept rate (0: of the smallest) that the run had when it was exported."""
        if not self.record["thresholds"]:
            raise UserError(f"{self.path} has no threshold: set one with `geodesic calibrate`, and export the run "
                            f"again")
        return thresholds.choose(self.record["thresholds"], far, self.path)

    @property
    def threshold(self) -> float | None:
        """The cosine from which two images count as one identity; None without one."""
        return self.threshold_of()["threshold"] if self.record["thresholds"] else None

    def classify(self, images) -> np.ndarray:
        """f32[N,C]: the scores of the classes of `class_names`, as of `Run.classify`."""
        self._must_give("scores")
        return self._rows(images)

    def map(self, images) -> np.ndarray:
        """f32[N,h,w,C]: the layer that was exported, as of `Run.features`."""
        self._must_give("map")
        return self._rows(images)

    @property
    def class_names(self) -> list[str]:
        self._must_give("scores")
        return self.record["class_names"]

    @property
    def embedding_size(self) -> int:
        self._must_give("embedding")
        return self.record["output"]["shape"][-1]

    def _must_give(self, output: str) -> None:
        given = self.record["output"]["name"]
        if given != output:
            raise UserError(f"{self.path} gives {given}, and no {output}: export the run with output={output!r}")

    def _rows(self, images) -> np.ndarray:
        given = self._given(inputs.as_source(images))
        if given.problems:
            raise UserError(given.problems[0])
        return given.embeddings

    def _given(self, source: datasets.Source, progress: Callable[[int], None] = lambda images: None
               ) -> embedding.Embedded:
        rows, readable, problems = np.zeros((len(source), 0), np.float32), np.zeros(len(source), bool), []
        batches, taken = datasets.eval_batches, self.record["input"]
        if taken["fit"] == "letterbox":  # a layer of a detector's trunk
            batches = functools.partial(datasets.detection_eval_batches, detection=types.SimpleNamespace(
                height=taken["shape"][1], width=taken["shape"][2]))
        for batch in batches(source, input=self._input, batch_size=min(_BATCH, len(source)), process_index=0,
                             process_count=1):
            read, asked = batch["mask"], batch["index"] >= 0
            problems += [datasets.problem(source, int(place)) for place in batch["index"][asked & ~read]]
            progress(int(asked.sum()))
            if not read.any():
                continue
            pixels = _as_taken(batch["image"][read], self.record, self._input)
            groups = np.split(pixels, len(pixels)) if self._alone else [pixels]
            found = np.concatenate([self.compute(group)[0] for group in groups])
            rows = rows if rows.size else np.zeros((len(source), *found.shape[1:]), np.float32)
            rows[batch["index"][read]], readable[batch["index"][read]] = found, True
        return embedding.Embedded(rows, readable, problems)


class ExportedDetector:
    """A file that detects as the run does that it was exported from, with suppression inside.

    path, record, identity, compute: as of `Exported`.
    """

    def __init__(self, path: str, record: dict, compute: Callable[[np.ndarray], list[np.ndarray]]):
        self.path, self.record, self.identity, self.compute = path, record, record["model"], compute
        self._config = types.SimpleNamespace(
            input=types.SimpleNamespace(**record["model"]["input"]),
            detection=types.SimpleNamespace(**record["model"]["detection"]),
            evaluation=types.SimpleNamespace(batch_size=_BATCH),
            run=types.SimpleNamespace(loader_threads=2, loader_workers=0, loader_buffer=8))
        self._mesh = meshes.make(jax.devices()[:1])

    def __repr__(self) -> str:
        height, width, _ = self.record["input"]["shape"][1:]
        return f"<geodesic export {self.path!r}: {height} x {width} -> boxes>"

    @property
    def class_names(self) -> list[str]:
        return self.record["class_names"]

    def detect(self, images, threshold: float = 0.0) -> list[detecting.Detected]:
        """For each image what is found in it, as of `Run.detect`."""
        found = self.detect_source(inputs.as_source(images), threshold=threshold)
        if found.problems:
            raise UserError(found.problems[0])
        return found.images

    def detect_source(self, source: datasets.Source, progress: Callable[[int], None] = lambda images: None, *,
                      threshold: float = 0.0) -> detecting.Found:
        """What is found in every image of a source; images that cannot be read are reported, not fatal."""
        if not 0 <= threshold <= 1:
            raise UserError(f"scores are between 0 and 1, and so is their threshold; got {threshold:g}")
        found = detecting.detect_source(self._detections, None, source, self._mesh, config=self._config,
                                        progress=progress)
        return found._replace(images=[image.above(threshold) for image in found.images])

    def _detections(self, variables: None, images: jax.Array) -> postprocess.Detections:
        return postprocess.Detections(*self.compute(_as_taken(np.asarray(images), self.record, self._config.input)))


def _as_taken(pixels: np.ndarray, record: dict, options) -> np.ndarray:
    return pixels if record["input"]["preprocessing_inside"] else embedding.normalize(pixels, options)


def load(path: str) -> Exported | ExportedDetector:
    """The model of an exported file. Raises FileNotFoundError where it is not there, and UserError where model.json is
    not beside it, or tells of another file, or where the file gives all points of a detector."""
    storage.check(path)
    if not storage.is_file(path):
        raise FileNotFoundError(f"no file {path!r}: expected one that `geodesic export` has written")
    beside = os.path.join(os.path.dirname(path), export.RECORD)
    if not storage.exists(beside):
        raise UserError(f"{path}: {export.RECORD}, which says what its images are, does not lie beside it")
    try:
        record, content = workdirs.read_json(beside), storage.read(path)
        if (record["schema"], record["version"]) != (export.SCHEMA, export.VERSION):
            raise UserError(f"it is of schema {record['schema']!r}, version {record['version']!r}")
        facts = record["files"].get(os.path.basename(path))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{beside} is not the record of an export: {error}") from error
    if facts is None or facts["sha256"] != hashlib.sha256(content).hexdigest():
        raise UserError(f"{path} is not the file that {beside} tells of: it is damaged, or of another export")
    if record["output"]["name"] == "boxes":
        raise UserError(f"{path} gives the boxes of all points, from which nothing is chosen yet: what is loaded here "
                        f"is exported with --output=detections")
    kind = ExportedDetector if record["output"]["name"] == "detections" else Exported
    return kind(path, record, (_onnx if path.endswith(".onnx") else _stablehlo)(content))


def _onnx(content: bytes) -> Callable[[np.ndarray], list[np.ndarray]]:
    if importlib.util.find_spec("onnxruntime") is None:
        raise UserError("running an ONNX file needs onnxruntime: pip install 'geodesic[export]'")
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=onnxruntime.get_available_providers())
    return lambda images: session.run(None, {"images": images})


def _stablehlo(content: bytes) -> Callable[[np.ndarray], list[np.ndarray]]:
    from jax import export as jax_export

    model = jax.jit(jax_export.deserialize(bytearray(content)).call)
    return lambda images: [np.asarray(array) for array in jax.tree.leaves(model(images))]
