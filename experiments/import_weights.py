"""Makes public weights into a folder that `evaluate`, `embed` and `train --config.init_from` accept.

    geodesic import_weights --weights=resnet101.safetensors --embedder=resnet101 --out=weights/resnet101

Reads safetensors, .npz, PyTorch's files (without running them), ONNX and TensorFlow.js, in the layouts of torchvision,
timm, Cadene, insightface and Keras. An unexpected or a missing tensor is an error unless named. Of several networks in
one file it says which it takes, and --prefix chooses: --prefix=state_dict_ema, --prefix=module.encoder_q. A classifier
that they bring is kept for `predict`: of 1,000 classes it is taken for ImageNet's, in their usual order, unless
--class_names says what they are.
"""

import hashlib
import os

import jax
from absl import flags

from geodesic.configs import default
from geodesic.embedders import PUBLIC_LAYOUTS
from geodesic.embedders.public_weights import containers, imagenet, layouts, pretrained, weight_files
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.process import cli, hosts, storage

# How many names the report has of each kind.
_LISTED = 20


def define_flags() -> None:
    flags.DEFINE_string("weights", "", "File of public weights.")
    flags.DEFINE_string("embedder", "", "Whose weights they are, a name of embedders.EMBEDDERS.")
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
    taken = containers.choose(weight_files.read_all(values.weights), values.prefix,
                              tuple(layouts.LAYOUTS[name].first for name in PUBLIC_LAYOUTS.get(values.embedder, ())))
    print(describe(taken))
    conversion = pretrained.inspect(taken.tensors, values.embedder, channel_order=values.channel_order)
    print(report(conversion, values.embedder, len(taken.tensors)))
    pretrained.check(conversion, values.embedder, values.allow_missing, values.allow_unexpected)
    configure(config, conversion, values)
    head = make_head(conversion, values.class_names)
    variables = conversion.variables
    if conversion.missing:
        variables = pretrained.complete(conversion, values.embedder, jax.random.key(config.seed))
    imported.save(values.out, config, variables, {
        "file": os.path.basename(values.weights), "sha256": _digest(values.weights),
        "shards": {name: _digest(os.path.join(os.path.dirname(values.weights), name))
                   for name in weight_files.shards(values.weights)},
        "container": taken.container, "prefix": taken.prefix, "layout": conversion.layout.name,
        "embedder": values.embedder, "fields": conversion.fields,
        "random": conversion.missing, "left_out": conversion.unexpected}, head)
    print(f"written to {values.out}: images of {config.input.image_size} px ({config.input.fit}), RGB, "
          f"mean {config.input.mean}, std {config.input.std} in units of 0..255")


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
        with open(class_names, encoding="utf-8") as file:
            names = [line.strip() for line in file if line.strip()]
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
        lines += [f"  {what}: {name}" for name in names[:_LISTED]]
        lines += [f"  {what}: {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return "\n".join(lines)


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
    cli.run(main, define_flags, required=("weights", "embedder", "out"), alone=True,
            buckets=("out",))
