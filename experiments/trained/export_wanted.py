"""What is asked for of an export: known from the configuration, before anything is loaded, or refused in a line."""

import dataclasses
import importlib.util
from collections.abc import Iterable
from typing import NamedTuple

from geodesic import datasets
from geodesic.embedders.public_weights import publish
from geodesic.errors import UserError
from geodesic.experiments.exporting import parity
from geodesic.experiments.process import storage
from geodesic.experiments.trained import detector, export_sizes, exportable, inputs, network


class Format(NamedTuple):
    """name: of the file. needs: the packages that it takes to write and to check it. allowed: how far it may be from
    what the run gives; None of a file that computes nothing."""

    name: str
    needs: tuple[str, ...]
    allowed: parity.Allowed | None


FORMATS = {
    "onnx": Format("model.onnx", ("onnx", "onnxruntime"), parity.EXACT),
    "int8": Format("model.int8.onnx", ("onnx", "onnxruntime"), parity.INT8),
    "stablehlo": Format("model.stablehlo", ("flatbuffers",), parity.EXACT),
    "safetensors": Format("model.safetensors", (), None)}
OUTPUTS = (*exportable.ARRAYS,)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is exported, and where to.

    output: one of OUTPUTS. layer: of `Run.layers`, "" is what the network gives. shape: of what the layer gives for one
    image; () of a detector. size: height and width of what the run sees, and the files take, but where `free` says
    which others they take too. source: of the pictures to compare on; None where no file computes anything.
    """

    out: str
    formats: tuple[str, ...]
    output: str
    layer: str
    shape: tuple[int, ...]
    size: tuple[int, int]
    preprocessing: bool
    source: datasets.Source | None
    free: export_sizes.Sizes | None = None

    @property
    def detects(self) -> bool:
        return self.output in exportable.OF_DETECTORS


def wanted(config, out: str, formats: Iterable[str] = ("onnx",), *, layer: str | None = None, output: str = "",
           preprocessing: bool = True, free_size: bool = False, images=None) -> Wanted:
    """What is asked for of a run with this configuration; the arguments are those of `Run.export`.

    Raises UserError for what cannot be exported: it needs no weights, so that nothing is loaded in vain.
    """
    formats = tuple(dict.fromkeys(formats))
    if unknown := [kind for kind in formats if kind not in FORMATS]:
        raise UserError(f"unknown format {unknown[0]!r}; known: {', '.join(FORMATS)}")
    if not formats:
        raise UserError(f"no format is given: name one or more of {', '.join(FORMATS)}")
    missing = {name: None for kind in formats for name in FORMATS[kind].needs if importlib.util.find_spec(name) is None}
    if missing:
        raise UserError(f"exporting {', '.join(formats)} needs {' and '.join(missing)}: pip install 'geodesic[export]'")
    output = output or ("detections" if config.task == "detection" and not layer else "embedding")
    _check_output(config, output, layer, formats)
    if free_size and config.task == "detection":
        raise UserError("a detector's points are those of one height and width: leave free_size out")
    if free_size and formats == ("safetensors",):
        raise UserError("weights have no size of pictures: leave free_size out, or give another format")
    if free_size and config.head.name == "recurrent" and {"onnx", "int8"} & {*formats}:
        raise UserError("in ONNX the loop of head recurrent is its steps, one for each row of the map: leave free_size "
                        "out, or give --formats=stablehlo")
    storage.check_new_folder(out)
    network_ = detector.make(config, 1) if config.task == "detection" else network.make_embedder(
        config.embedder, config.head)
    size = network.image_size(config) if config.task == "detection" else (config.input.image_size,) * 2
    layer, shape = ("", ()) if output in exportable.OF_DETECTORS else _layer(config, network_, output, layer)
    if "safetensors" in formats:
        publish.layout_of(config.embedder.name, network_)
    free = export_sizes.free(config, network_, output, layer) if free_size else None
    return Wanted(out, formats, output, layer, shape, size, preprocessing,
                  None if formats == ("safetensors",) else _source(config, images), free)


def _check_output(config, output: str, layer: str | None, formats: tuple[str, ...]) -> None:
    """Raises UserError for an output that the run does not have, or not in these formats."""
    if output not in OUTPUTS:
        raise UserError(f"output is one of {', '.join(OUTPUTS)}; got {output!r}")
    detects = output in exportable.OF_DETECTORS
    if detects and config.task != "detection":
        raise UserError(f"output {output!r} is of a detector, and this is a run of --config.task={config.task}")
    if config.task == "detection" and not detects and (not layer or output == "scores"):
        raise UserError(f"a detector gives boxes, and no {output} of a picture: the output is "
                        f"{' or '.join(exportable.OF_DETECTORS)}, or an embedding or map of a layer that is named")
    if layer and (detects or output == "scores"):
        raise UserError(f"output {output!r} is of the whole network, and layer {layer!r} is given too: leave one out")
    if detects and "int8" in formats:
        raise UserError("int8 is judged by cosines of embeddings, scores and maps, and a detector's boxes have none: "
                        "leave it out of the formats")
    soft = config.detection.suppression
    if output == "detections" and soft != "hard" and "onnx" in formats:
        raise UserError(f"ONNX has no {soft} suppression: give --output=boxes, and suppress them yourself, or "
                        f"--formats=stablehlo")


def _layer(config, embedder, output: str, layer: str | None) -> tuple[str, tuple[int, ...]]:
    """(the layer that is taken, the shape of what it gives for one image)."""
    known = network.layers(embedder, network.image_size(config))
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
