"""An exported file at work: what `geodesic.load` gives of model.onnx or model.stablehlo, by model.json beside it."""

import hashlib
import importlib.util
import os
import types
from collections.abc import Callable

import numpy as np

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import embedding, export, inputs, thresholds

EXTENSIONS = (".onnx", ".stablehlo")
_BATCH = 32


class Exported:
    """A file that embeds, or scores, as the run does that it was exported from; images come in any form that a run
    takes.

    It has no `features`, no `layers`, no `predict` and no variables: a file gives one thing. path: of the file. record:
    the content of model.json. identity: as of the run. compute: the file itself, a function of images as it takes them.
    """

    def __init__(self, path: str, record: dict, compute: Callable[[np.ndarray], np.ndarray]):
        self.path, self.record, self.identity, self.compute = path, record, record["model"], compute
        self._input = types.SimpleNamespace(**record["model"]["input"])

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
        source, rows = inputs.as_source(images), []
        for batch in datasets.eval_batches(source, input=self._input, batch_size=min(_BATCH, len(source)),
                                           process_index=0, process_count=1):
            if unread := [place for place, read in zip(batch["index"], batch["mask"], strict=True)
                          if place >= 0 and not read]:
                raise UserError(datasets.problem(source, int(unread[0])))
            pixels = batch["image"][batch["mask"]]
            if not self.record["input"]["preprocessing_inside"]:
                pixels = embedding.normalize(pixels, self._input)
            rows.append(self.compute(pixels))
        return np.concatenate(rows)


def load(path: str) -> Exported:
    """The model of an exported file. Raises FileNotFoundError where it is not there, and UserError where model.json is
    not beside it, or tells of another file."""
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
    return Exported(path, record, (_onnx if path.endswith(".onnx") else _stablehlo)(content))


def _onnx(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    if importlib.util.find_spec("onnxruntime") is None:
        raise UserError("running an ONNX file needs onnxruntime: pip install 'geodesic[export]'")
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=onnxruntime.get_available_providers())
    return lambda images: session.run(None, {"images": images})[0]


def _stablehlo(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    import jax
    from jax import export as jax_export

    model = jax.jit(jax_export.deserialize(bytearray(content)).call)
    return lambda images: np.asarray(model(images))
