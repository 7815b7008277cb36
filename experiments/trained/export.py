"""A trained model as files that other programs run: ONNX, StableHLO, and public weights as safetensors.

A file is kept where a process of its own, without this code, computes from it what the run computes on its CPU. Beside
the files lies model.json: what they take and give, where they come from, and how near they came.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np

from geodesic.configs import stored
from geodesic.datasets import box_views, transforms
from geodesic.errors import UserError
from geodesic.experiments.exporting import parity
from geodesic.experiments.process import storage
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.trained import detector, export_weights, exportable, read_back, thresholds
from geodesic.experiments.trained.export_wanted import FORMATS, Wanted

SCHEMA, VERSION = "geodesic.export", 1
RECORD = "model.json"
# A picture that everybody can make, for the record's golden pair, and how many of its numbers are kept.
GOLDEN, GOLDEN_NUMBERS = "pixel (y, x, c) = (7 * y + 13 * x + 101 * c + x * y) mod 256", 4096

# Pictures of each size that is not the run's.
OF_OTHER_SIZES = 8


def export(run, wanted: Wanted, say: Callable[[str], None] = lambda line: None) -> dict:
    """Writes what is wanted of a run, whose configuration it was asked of; gives the record that lies beside the files.

    say: told of each file. Raises UserError where a file does not give what the run gives; then nothing is written.
    """
    record, contents, expected, made = _record(run, wanted), {}, {}, {}
    pixels = {} if wanted.source is None else _pixels(wanted, run.config)
    for kind in wanted.formats:
        name, _, allowed = FORMATS[kind]
        if kind == "safetensors":
            contents[name], facts = export_weights.written(run, wanted.output)
        else:
            dtype, begun = run.config.embedder.dtype if kind == "stablehlo" else "float32", time.perf_counter()
            contents[name], facts = (_stablehlo(run, wanted, dtype) if kind == "stablehlo" else
                                     _onnx(run, wanted, made, eight_bits=kind == "int8"))
            facts["seconds"] = round(time.perf_counter() - begun, 2)
            if dtype not in expected:
                expected[dtype] = {size: exportable.expected(run, wanted, pictures, dtype)
                                   for size, pictures in pixels.items()}
            found = {f"{size[0]} x {size[1]}": _proven(
                name, contents[name], exportable.as_taken(run, wanted, pictures[:-1]),
                {key: array[:-1] for key, array in expected[dtype][size].items()}, allowed)._asdict()
                for size, pictures in pixels.items()}  # the last picture is the golden one
            facts["parity"] = found.pop("{} x {}".format(*wanted.size)) | {"allowed": allowed._asdict()}
            facts |= {"parity_of_other_sizes": found} if found else {}
        facts = {"sha256": hashlib.sha256(contents[name]).hexdigest(), "bytes": len(contents[name]), **facts}
        record["files"][name] = facts
        say(f"{name}: {describe(facts)}")
    if expected:
        arrays = expected.get("float32", expected.get("bfloat16"))[wanted.size]
        record["golden"] = _golden(exportable.as_taken(run, wanted, pixels[wanted.size][-1:]),
                                   {key: array[-1] for key, array in arrays.items()})
    for name, content in contents.items():
        storage.write(os.path.join(wanted.out, name), content)
    workdirs.write_json(os.path.join(wanted.out, RECORD), record)
    return record


def describe(facts: dict) -> str:
    """A file of a record in a line."""
    parts = [f"{facts['bytes'] / 2**20:.1f} MiB"]
    parts += [f"{facts['nodes']} nodes of ONNX {facts['opset']}"] if "nodes" in facts else []
    parts += [f"in the layout of {facts['layout']}"] if "layout" in facts else []
    # params/head/fcos/logits/kernel is of head/fcos.
    left_out = dict.fromkeys("/".join(path.split("/")[1:3]) or path for path in facts.get("left_out", ()))
    parts += [f"without {', '.join(left_out)}, which it has no place for"] if left_out else []
    if found := facts.get("parity"):
        parts.append(f"{found['runtime']} on {found['pictures']} pictures: greatest relative difference "
                     f"{found['relative']:.1e}, 1 - cosine {found['one_minus_cosine']:.1e} "
                     f"({found['allowed']['one_minus_cosine']:g} allowed)")
    if others := facts.get("parity_of_other_sizes"):
        parts.append(f"{' and '.join(others)} px: {max(other['relative'] for other in others.values()):.1e}, "
                     f"{max(other['one_minus_cosine'] for other in others.values()):.1e}")
    return ", ".join(parts)


def _pixels(wanted: Wanted, config) -> dict[tuple[int, int], np.ndarray]:
    """Size -> u8[N+1,H,W,3]: so many pictures as are looked at, of all parts of the source, and last the golden
    picture; of sizes that are not the run's, some of them, stretched."""
    found, source = [], wanted.source
    for place in np.unique(np.linspace(0, len(source) - 1, parity.PICTURES).astype(int)):
        with contextlib.suppress(UserError, OSError):  # others show it too
            record = source[int(place)]
            found.append(box_views.eval_view(record, config.input, config.detection).image
                         if config.task == "detection" else transforms.eval_view(record, config.input))
    if len(found) < 2:
        raise UserError(f"{len(found)} of {len(source)} pictures can be read: give --images, real pictures that the "
                        f"files are compared on")
    y, x, c = np.ogrid[:wanted.size[0], :wanted.size[1], :3]
    whole = np.stack([*found, ((7 * y + 13 * x + 101 * c + x * y) % 256).astype(np.uint8)])
    some = [*whole[:-1][:OF_OTHER_SIZES], whole[-1]]
    return {wanted.size: whole} | {(height, width): np.stack([cv2.resize(picture, (width, height)) for picture in some])
                                   for height, width in (wanted.free.others if wanted.free else ())}


def _taken(wanted: Wanted) -> tuple[tuple[int | str, ...], np.dtype, int]:
    """(the shape of one image, its dtype, what a free side is at least) as the files take it."""
    dtype = np.dtype(np.uint8 if wanted.preprocessing else np.float32)
    return (wanted.free.shape, dtype, wanted.free.least) if wanted.free else ((*wanted.size, 3), dtype, 1)


def _stablehlo(run, wanted: Wanted, dtype: str) -> tuple[bytes, dict]:
    """(the file, facts about it)."""
    from geodesic.experiments.exporting import stablehlo

    shape, taken, least = _taken(wanted)
    loader = stablehlo.LOADER.format(shape=(1, *wanted.size, 3), dtype=taken.name)
    return stablehlo.serialized(exportable.function(run, wanted, dtype), shape, taken, least), {
        "dtype": dtype, "platforms": stablehlo.PLATFORMS, "loader": loader.splitlines()}


def _onnx(run, wanted: Wanted, made: dict, eight_bits: bool) -> tuple[bytes, dict]:
    """(the file in float32, or in eight bits, facts about it). made: keeps the first for the second."""
    from geodesic.experiments.exporting import int8, lower, suppression, write

    shape, taken, least = _taken(wanted)
    if "onnx" not in made:
        inside = wanted.output == "detections"  # of the points, which are found first, the graph chooses by itself
        made["onnx"] = model = write.onnx_model(
            exportable.function(run, wanted, "float32", points=inside), shape, taken,
            suppression.POINTS if inside else exportable.ARRAYS[wanted.output],
            {"checkpoint": run.digest, "record": RECORD} | read_back.note(run.config, wanted), least)
        if inside:
            options = run.config.detection
            suppression.suppressed(
                model, detector.points(run.embedder, options).sizes, threshold=options.threshold,
                smallest=options.smallest_score, candidates=options.candidates, kept=options.kept)
    model = int8.quantized(made["onnx"]) if eight_bits else made["onnx"]
    return model.SerializeToString(), {"dtype": "int8" if eight_bits else "float32", "opset": lower.OPSET,
                                       "nodes": len(model.graph.node), "onnx": importlib.metadata.version("onnx")}


def _proven(name: str, content: bytes, images: np.ndarray, expected: dict[str, np.ndarray],
            allowed: parity.Allowed) -> parity.Parity:
    """Raises UserError where the file does not give what is expected."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        storage.write(path, content)
        found = parity.measure(path, images, expected)
    parity.check(found, name, allowed)
    return found


def _golden(taken: np.ndarray, arrays: dict[str, np.ndarray]) -> dict:
    """A picture that everybody can make, as the file takes it, and what the model gives for it; of several arrays by
    their names."""
    numbers = {name: [float(f"{number:.7g}") for number in array.reshape(-1)[:GOLDEN_NUMBERS]]
               for name, array in arrays.items()}
    one = next(iter(arrays)) if len(arrays) == 1 else None
    return {"picture": GOLDEN, "sha256": hashlib.sha256(taken.tobytes()).hexdigest(),
            "numbers": arrays[one].size if one else {name: array.size for name, array in arrays.items()},
            "output": numbers[one] if one else numbers}


def _record(run, wanted: Wanted) -> dict:
    """model.json before any file is in it."""
    options, (shape, taken, least) = run.config.input, _taken(wanted)
    model = run.classifier_identity if wanted.output == "scores" else run.identity | {"layer": wanted.layer}
    model |= {"detection": stored.as_dict(run.config)["detection"]} if wanted.detects else {}
    fit = {"fit": "letterbox", "border": [*box_views.border(options)]} if run.config.task == "detection" else {
        "fit": options.fit, "resize_size": options.resize_size}
    free = {"smallest": least, "multiple_of": wanted.free.multiple} if wanted.free else {}
    return {
        "schema": SCHEMA, "version": VERSION, "model": model,
        "input": {"name": "images", "dtype": taken.name, "shape": ["batch", *shape], "size": [*wanted.size], **free,
                  "channels": "last, red first", "preprocessing_inside": wanted.preprocessing,
                  **fit, "mean": list(options.mean), "std": list(options.std)},
        "output": _boxes(run, wanted) if wanted.detects else _rows(run, wanted),
        "class_names": run.class_names if wanted.detects or wanted.output == "scores" else None,
        "thresholds": _thresholds(run, model) if wanted.output == "embedding" else [],
        "files": {}, "made": workdirs.environment(run.mesh.devices.reshape(-1).tolist())}


def _rows(run, wanted: Wanted) -> dict:
    """What the record says of the output of an embedder."""
    scores, shape = wanted.output == "scores", wanted.shape
    if wanted.free and wanted.output == "map":
        shape = (*wanted.free.map, shape[-1])
    elif wanted.output != "map":
        shape = (run.classifier.num_classes if scores else shape[-1],)
    return {"name": wanted.output, "shape": ["batch", *shape], "layer": wanted.layer,
            "normalized": wanted.output == "embedding",
            "mirror_averaged": run.config.evaluation.average_horizontal_flips,
            "probabilities": scores and run.classifier.loss.probabilities is not None}


def _boxes(run, wanted: Wanted) -> dict:
    """What the record says of the output of a detector: what its arrays are, and what is to be done with all points."""
    options, classes = run.config.detection, run.embedder.head.num_classes
    levels = detector.points(run.embedder, options).sizes
    number = options.kept if wanted.output == "detections" else sum(levels)
    shapes = {"boxes": ["batch", number, 4], "scores": ["batch", number], "classes": ["batch", number]}
    shapes["scores"] += [classes] if wanted.output == "boxes" else []
    return {"name": wanted.output, "arrays": {name: shapes[name] for name in exportable.ARRAYS[wanted.output]},
            "layer": "", "boxes": "x1, y1, x2, y2 in pixels of the input", "levels": [*levels],
            "suppression": {"inside": wanted.output == "detections", "kind": options.suppression,
                            "smallest_score": options.smallest_score, "candidates_of_a_level": options.candidates,
                            "largest_iou": options.threshold, "sigma": options.sigma, "kept": options.kept}}


def _thresholds(run, identity: dict) -> list[dict]:
    """Those that `geodesic calibrate` has set for this very model and layer."""
    try:
        return thresholds.entries(run.workdir) if thresholds.load(run.workdir, identity) else []
    except UserError:  # of another checkpoint, layer or preprocessing
        return []
