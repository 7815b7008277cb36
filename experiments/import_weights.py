"""Makes public weights into a folder that `evaluate`, `embed` and `train --config.init_from` accept.

    geodesic import_weights --weights=resnet101.safetensors --embedder=resnet101 --out=weights/resnet101
    geodesic import_weights --weights=fcos_resnet50_fpn.pth --embedder=resnet50 --out=weights/fcos    # for `detect`
    geodesic import_weights --weights=exported/model.onnx --out=weights/again            # of `geodesic export`

Reads safetensors, .npz, PyTorch's files (without running them), ONNX and TensorFlow.js, in the layouts of torchvision,
timm, Cadene, insightface and Keras. An unexpected or a missing tensor is an error unless named. Of several networks in
one file it says which it takes, and --prefix chooses: --prefix=state_dict_ema, --prefix=module.encoder_q. A classifier
that they bring is kept for `predict`: of 1,000 classes it is taken for ImageNet's, in their usual order, unless
--class_names says what they are. torchvision's fcos_resnet50_fpn and retinanet_resnet50_fpn are known by their names,
and become detectors; --prefix=backbone.body takes the trunk of one alone. An ONNX file of `geodesic export` says itself
which network it holds: of a run in float32 it is the same function of images again.
"""

import hashlib
import os

import jax
import numpy as np
from absl import flags
from flax import traverse_util

from geodesic.configs import default
from geodesic.embedders import PUBLIC_LAYOUTS
from geodesic.embedders.public_weights import (
    coco,
    containers,
    detectors,
    imagenet,
    layouts,
    onnx_file,
    own_onnx,
    pretrained,
    weight_files,
)
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.process import cli, hosts, storage
from geodesic.experiments.trained import detector, network, read_back

# How many names the report has of each kind.
_LISTED = 20


def define_flags() -> None:
    flags.DEFINE_string("weights", "", "File of public weights.")
    flags.DEFINE_string("embedder", "", "Whose weights they are, a name of embedders.EMBEDDERS; a file of `geodesic "
                        "export` says it.")
    flags.DEFINE_string("out", "", "Folder to write, which must be new or empty.")
    flags.DEFINE_string("prefix", "", "Take the tensors alone whose names begin so, in one of the file's dictionaries, "
                        "such as teacher.backbone, or a whole dictionary.")
    flags.DEFINE_list("allow_missing", [], "Paths of ours that the file may lack; they keep their random start.")
    flags.DEFINE_list("allow_unexpected", [], "Names of the file that may be left out.")
    flags.DEFINE_string("class_names", "", "Text file with a line for each class of their classifier, in its order.")
    flags.DEFINE_enum("channel_order", "", ["", "rgb", "bgr"], "Of its images, if not the layout's.")
    flags.DEFINE_list("mean", [], "Three numbers, red first, in units of 0..255, if not the layout's.")
    flags.DEFINE_list("std", [], "Three numbers, red first, in units of 0..255, if not the layout's.")
    flags.DEFINE_integer("image_size", 0, "Pixels, if not the layout's.")


def main(config, values) -> None:
    hosts.must_be_alone("geodesic import_weights")
    config = config or default.get_config()
    storage.check_new_folder(values.out)
    if (exported := read_exported(values.weights)) is not None:
        import_exported(config, exported, values)
        return
    if not values.embedder:
        raise UserError(f"--embedder=... is required: whose weights they are, one of {', '.join(PUBLIC_LAYOUTS)}")
    taken = containers.choose(weight_files.read_all(values.weights), values.prefix,
                              tuple(layouts.LAYOUTS[name].first for name in PUBLIC_LAYOUTS.get(values.embedder, ())))
    print(describe(taken))
    if detectors.recognise(taken.tensors) is not None:
        import_detector(config, taken, values)
        return
    conversion = pretrained.inspect(taken.tensors, values.embedder, channel_order=values.channel_order)
    print(report(conversion, values.embedder, len(taken.tensors)))
    pretrained.check(conversion, values.embedder, values.allow_missing, values.allow_unexpected)
    configure(config, conversion, values)
    head = make_head(conversion, values.class_names)
    variables = conversion.variables
    if conversion.missing:
        variables = pretrained.complete(conversion, values.embedder, jax.random.key(config.seed))
    imported.save(values.out, config, variables, _origin(taken, values) | {
        "layout": conversion.layout.name, "embedder": values.embedder, "fields": conversion.fields,
        "random": conversion.missing, "left_out": conversion.unexpected}, head)
    print(written(values.out, config))


def read_exported(path: str) -> onnx_file.Model | None:
    """The file, where it is an ONNX file of `geodesic export`. Raises UserError where it cannot be read back."""
    model = onnx_file.read_model(path) if weight_files.is_onnx(path) else None
    if model is None or "checkpoint" not in model.notes:
        return None
    if own_onnx.NOTE not in model.notes:
        raise UserError(f"{path} is of `geodesic export`, and does not say which network it holds: it is a "
                        f"detector, or of an older version. Import the run's own weights, or export it again")
    return model


def import_exported(config, model: onnx_file.Model, values) -> None:
    """The same of the network of an exported file, which says all that flags say of others."""
    given = [f"--{name}" for name in ("prefix", "class_names", "allow_missing", "allow_unexpected", "channel_order",
                                      "mean", "std", "image_size") if getattr(values, name)]
    if given:
        raise UserError(f"{values.weights} says itself what it holds, and {', '.join(given)} would change it: leave "
                        f"{'them' if len(given) > 1 else 'it'} out")
    read_back.configure(config, model)
    if values.embedder not in ("", config.embedder.name):
        raise UserError(f"--embedder={values.embedder}, and {values.weights} holds a {config.embedder.name}")
    variables, missing, left_out = read_back.variables(model, config)
    print(f"{config.embedder.name} of an export: {len(model.arrays)} arrays of the file; BatchNorm is part of the "
          f"layer in front of it, and stays there")
    for line in (*_some("random, as its output does not need it", missing), *_some("left out", left_out)):
        print(line)
    imported.save(values.out, config, variables, _file(values.weights) | {
        "layout": "geodesic export", "checkpoint": model.notes.get("checkpoint"), "embedder": config.embedder.name,
        "random": missing, "left_out": left_out})
    print(written(values.out, config))


def import_detector(config, taken: containers.Chosen, values) -> None:
    """The same of a trained detector, of which all that lies above the trunk has to be there."""
    if values.image_size or values.channel_order:
        raise UserError("--image_size and --channel_order are not of a detector: --config.detection.height and width "
                        "may be changed when it is used")
    found = detectors.convert(taken.tensors, values.embedder)
    kind = detectors.KINDS[found.kind]
    conversion = found.trunk._replace(layout=kind.layout,
                                      fields=found.trunk.fields | kind.embedder,
                                      matched=found.trunk.matched | found.matched,
                                      unexpected=found.trunk.unexpected + found.unexpected)
    print(report(conversion, values.embedder, len(taken.tensors)))
    pretrained.check(conversion, values.embedder, values.allow_missing, values.allow_unexpected)
    configure(config, conversion, values)
    config.task, config.loss.name = "detection", found.kind
    config.detection.update(found.detection)
    kept, head = detected_classes(found.outputs, values.class_names)
    made = detector.make(config, len(kept))
    _, wanted = network.abstract(made, network.image_size(config))
    needed = traverse_util.flatten_dict(wanted, sep="/")
    trunk = (pretrained.complete(conversion, values.embedder, jax.random.key(config.seed)) if conversion.missing else
             conversion.variables)
    variables = {**trunk, "params": {**trunk["params"], "head": detectors.keep_classes(found, kept)}}
    if found.kind == "fcos":  # torchvision's has none
        variables["params"]["head"]["fcos"]["factors"] = np.ones(len(made.head.strides), np.float32)
    given = traverse_util.flatten_dict(variables, sep="/")
    if differing := imported.differing(given, needed):
        raise UserError(f"these weights are not a whole detector of {kind.layout.name} on {values.embedder}: "
                        f"{imported.differences(given, needed, differing)}")
    imported.save(values.out, config, variables, _origin(taken, values) | {
        "layout": kind.layout.name, "embedder": values.embedder, "fields": conversion.fields,
        "random": conversion.missing, "left_out": conversion.unexpected}, head)
    print(f"written to {values.out}: a detector of {len(kept)} classes, pictures letterboxed into "
          f"{config.detection.height} x {config.detection.width} pixels, RGB, mean {config.input.mean}, std "
          f"{config.input.std} in units of 0..255")


def detected_classes(outputs: int, class_names: str) -> tuple[list[int], imported.Head]:
    """(the outputs of a detector that are classes, their names and ids in place of a classifier).

    class_names: the file that has them, or "": those of COCO where it has torchvision's 91 outputs. With a line less
    than there are outputs, the first one is the background, and left out.
    """
    names = _names(class_names) if class_names else []
    if names and (len(names) not in (outputs, outputs - 1) or len({*names}) != len(names)):
        raise UserError(f"--class_names={class_names} has {len(names)} names, {len({*names})} of them different; the "
                        f"detector has {outputs} outputs: expected a line for each, or for each but the first, the "
                        f"background")
    if names:
        kept, ids, known = list(range(outputs - len(names), outputs)), [""] * len(names), f"of {class_names}"
    elif outputs == coco.OUTPUTS:
        kept, names, known = list(coco.NAMES), list(coco.NAMES.values()), "of COCO; --class_names=FILE says others"
        ids = [str(number) for number in kept]
    else:
        kept, ids = list(range(outputs)), [""] * outputs
        names, known = [f"class {place}" for place in kept], "whose names are not known; --class_names=FILE says them"
    print(f"the detector has {outputs} outputs, and {len(kept)} of them are kept: those {known}")
    return kept, imported.Head(np.zeros((0, len(kept)), np.float32), np.zeros(len(kept), np.float32), names, ids)


def written(out: str, config) -> str:
    return (f"written to {out}: images of {config.input.image_size} px ({config.input.fit}), RGB, mean "
            f"{config.input.mean}, std {config.input.std} in units of 0..255")


def _origin(taken: containers.Chosen, values) -> dict:
    return _file(values.weights) | {"shards": {name: _digest(os.path.join(os.path.dirname(values.weights), name))
                                               for name in weight_files.shards(values.weights)},
                                    "container": taken.container, "prefix": taken.prefix}


def _file(path: str) -> dict:
    return {"file": os.path.basename(path), "sha256": _digest(path)}


def _names(path: str) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def configure(config, conversion: pretrained.Conversion, values) -> None:
    """Writes into `config` the embedder and the images that these weights need."""
    images = conversion.layout.preprocessing
    config.embedder.name = values.embedder
    for name, value in conversion.fields.items():
        config.embedder[name] = value
    config.input.mean = _three("mean", values.mean) or images.mean
    config.input.std = _three("std", values.std) or images.std
    config.input.image_size = values.image_size or images.image_size
    config.input.fit = images.fit


def make_head(conversion: pretrained.Conversion, class_names: str) -> imported.Head | None:
    """The classifier of these weights with the names of its classes; None where they bring none.

    class_names: the file that has them, or "".
    """
    head = conversion.head
    if head is None or {*head} != {"kernel", "bias"}:
        if class_names:
            raise UserError(f"--class_names={class_names}: these weights bring no classifier")
        return None
    classes = head["kernel"].shape[1]
    if class_names:
        names = _names(class_names)
        if len(names) != classes or len({*names}) != classes:
            raise UserError(f"--class_names={class_names} has {len(names)} names, {len({*names})} of them different; "
                            f"the classifier has {classes} classes: expected a line for each")
        ids, known = [""] * classes, f"of {os.path.basename(class_names)}"
    elif classes == len(imagenet.classes().names):
        (ids, names), known = imagenet.classes(), "of ImageNet in their usual order; --class_names=FILE says others"
    else:
        names, ids = [f"class {place}" for place in range(classes)], [""] * classes
        known = "whose names are not known; --class_names=FILE says them"
    print(f"the classifier of {classes} classes is kept: those {known}")
    return imported.Head(head["kernel"], head["bias"], names, ids)


def describe(taken: containers.Chosen) -> str:
    """Tells which tensors of the file were taken, and how others are."""
    lines = [f"taken: {len(taken.tensors)} tensors of {taken.container or 'the file itself'}"
             + (f", below {taken.prefix}" if taken.prefix else "")]
    if taken.outside:
        lines.append(f"  {len(taken.outside)} tensor(s) outside of the prefix are left out: "
                     + ", ".join(taken.outside[:3]) + (", ..." if len(taken.outside) > 3 else ""))
    lines += [f"  {other} holds such a network too: --prefix={other} takes it" for other in taken.others]
    return "\n".join(lines)


def report(conversion: pretrained.Conversion, name: str, total: int) -> str:
    """Tells what matched, what is missing and what is left over."""
    lines = [f"{conversion.layout.name} layout as {name}: {len(conversion.matched)} of the file's {total} tensors "
             f"matched, {len(conversion.missing)} missing, {len(conversion.unexpected)} left over"]
    if conversion.head:
        features, classes = conversion.head["kernel"].shape
        lines.append(f"  the head of {features} features and {classes} outputs is beside the embedder")
    if conversion.fields:
        lines.append("  fields: " + ", ".join(f"{key}={value}" for key, value in conversion.fields.items()))
    for what, names in (("missing", conversion.missing), ("left over", conversion.unexpected)):
        lines += _some(what, names)
    return "\n".join(lines)


def _some(what: str, names: list[str]) -> list[str]:
    """Lines of the first of these names, and of how many more there are."""
    return [f"  {what}: {name}" for name in names[:_LISTED]] + (
        [f"  {what}: {len(names) - _LISTED} more"] if len(names) > _LISTED else [])


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _three(name: str, given: list[str]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in given)
    except ValueError as error:
        raise UserError(f"--{name} is three numbers; got {','.join(given)}") from error
    if len(numbers) not in (0, 3):
        raise UserError(f"--{name} is three numbers, red first; got {','.join(given)}")
    return numbers


if __name__ == "__main__":
    cli.run(main, define_flags, required=("weights", "out"), alone=True,
            buckets=("out",))
