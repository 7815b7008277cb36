"""Trained detectors of torchvision, by their names: a ResNet, a feature pyramid, and FCOS's or RetinaNet's head.

    found = detectors.convert(weight_files.read("fcos_resnet50_fpn.pth"), "resnet50")

`fcos_resnet50_fpn` and `retinanet_resnet50_fpn`, and the same of another ResNet; the second versions, whose RetinaNet
has GroupNorm and takes P6 of the trunk, are not known.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...errors import UserError
from . import layouts, pretrained

# The name of a detector's outputs of classes, and what its trunk's names begin with.
_CLASSES, _TRUNK = "head.classification_head.cls_logits.weight", "backbone.body."
_DEEPEST = 16  # convolutions of a tower that are looked for

_PYRAMID = tuple((rf"backbone\.fpn\.{theirs}_blocks\.{place}(\.0)?", f"pyramid/{ours}_stage{place + 2}")
                 for theirs, ours in (("inner", "lateral"), ("layer", "output")) for place in range(3)) + tuple(
    (rf"backbone\.fpn\.extra_blocks\.p{place + 5}", f"pyramid/coarser{place}") for place in (1, 2))


def _towers(head: str, **endings: Callable[[int], str]) -> tuple[tuple[str, str], ...]:
    """The rules of both towers. endings: of what a tower is made of, place -> the end of its public name."""
    return tuple((rf"head\.{theirs}_head\.conv\.{ending(place)}", f"{head}/{ours}_tower/{kind}{place + 1}")
                 for theirs, ours in (("classification", "class"), ("regression", "box"))
                 for kind, ending in endings.items() for place in range(_DEEPEST))


class Kind(NamedTuple):
    """How torchvision names the tensors of a head, and what else its weights ask for.

    Attributes:
      layout: the rules of pyramid and head, our paths below "head".
      sides: our name of the outputs of which boxes are made.
      embedder: fields of the section `embedder` of a configuration.
      detection: fields of the section `detection`.
    """

    layout: layouts.Layout
    sides: str
    embedder: dict
    detection: dict


# Of torchvision's: a shorter side of 800 pixels, and a longer one of 1333, the next multiple of 32 here.
_SHARED = {"height": 800, "width": 1344, "offset": 0.0, "spread": True, "candidates": 1000}
_FROZEN = {"embedding_size": 0, "batch_norm": "frozen"}
_LAYOUT = layouts.Layout("", _CLASSES, (), "", layouts.IMAGENET_RGB, {})
KINDS = {
    "fcos": Kind(
        _LAYOUT._replace(name="torchvision's FCOS", rules=(
            *_PYRAMID, *_towers("fcos", conv=lambda place: f"{3 * place}", norm=lambda place: f"{3 * place + 1}"),
            (r"head\.classification_head\.cls_logits", "fcos/logits"),
            (r"head\.regression_head\.bbox_reg", "fcos/distances"),
            (r"head\.regression_head\.bbox_ctrness", "fcos/centerness"))),
        "distances", _FROZEN,
        {"head": "fcos", "distances": "relu", "smallest_score": 0.2, "threshold": 0.6, "kept": 100, **_SHARED}),
    "retinanet": Kind(
        _LAYOUT._replace(name="torchvision's RetinaNet", rules=(
            *_PYRAMID, *_towers("retinanet", conv=lambda place: rf"(?:{place}\.0|{2 * place})"),
            (r"head\.classification_head\.cls_logits", "retinanet/logits"),
            (r"head\.regression_head\.bbox_reg", "retinanet/offsets"))),
        # The published weights are used with an epsilon of 0.
        "offsets", {**_FROZEN, "bn_epsilon": 0.0},
        {"head": "retinanet", "smallest_score": 0.05, "threshold": 0.5, "kept": 300, **_SHARED}),
}


class Conversion(NamedTuple):
    """What became of the weights of a detector.

    Attributes:
      kind: a name of KINDS.
      trunk: of the trunk.
      head: {"pyramid", "fcos" or "retinanet"}, the parameters of what lies above it, float32.
      detection: fields of the section `detection` that fit them.
      outputs: how many classes it has, the background among them where there is one.
      matched, unexpected: of what lies above the trunk, as of `pretrained.Conversion`.
    """

    kind: str
    trunk: pretrained.Conversion
    head: dict
    detection: dict
    outputs: int
    matched: dict[str, str]
    unexpected: list[str]


def recognise(state_dict: Mapping[str, np.ndarray]) -> tuple[str, str] | None:
    """(the name of KINDS, the prefix of the names in front of torchvision's); None of weights of no detector.

    Example:
      >>> from geodesic.embedders.public_weights import detectors
      >>> names = ["head.classification_head.cls_logits.weight", "head.regression_head.bbox_ctrness.weight"]
      >>> detectors.recognise({f"model.{name}": None for name in names}), detectors.recognise({"conv1.weight": None})
      (('fcos', 'model.'), None)
    """
    found = [name.removesuffix(_CLASSES) for name in state_dict if name == _CLASSES or name.endswith("." + _CLASSES)]
    if not found:
        return None
    prefix = min(found, key=len)
    return "fcos" if f"{prefix}head.regression_head.bbox_ctrness.weight" in state_dict else "retinanet", prefix


def convert(state_dict: Mapping[str, np.ndarray], name: str) -> Conversion:
    """Converts the weights of a detector, and says what became of each tensor.

    Args:
      state_dict: public name -> array, as `weight_files.read` gives.
      name: the trunk, of `embedders.EMBEDDERS`.

    Raises:
      UserError: the weights are of no detector that is known, or as `pretrained.inspect` does.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import detectors
      >>> names = {"head.classification_head.cls_logits.weight": (36, 8, 3, 3), "odd.weight": (1,),
      ...          "head.regression_head.bbox_reg.weight": (36, 8, 3, 3), "backbone.body.conv1.weight": (64, 3, 7, 7)}
      >>> found = detectors.convert({name: np.zeros(shape) for name, shape in names.items()}, "resnet18")
      >>> found.kind, found.outputs, found.head["retinanet"]["logits"]["kernel"].shape, found.unexpected
      ('retinanet', 4, (3, 3, 8, 36), ['odd.weight'])
    """
    recognised = recognise(state_dict)
    if recognised is None:
        raise UserError(f"these weights are of no detector that is known: they have no {_CLASSES}")
    kind, prefix = recognised
    own = {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}
    if kind == "retinanet" and "head.classification_head.conv.0.1.weight" in own:
        raise UserError("these weights are of retinanet_resnet50_fpn_v2, whose head has GroupNorm: only "
                        "retinanet_resnet50_fpn and fcos_resnet50_fpn are known")
    trunk = pretrained.inspect({key: value for key, value in own.items() if key.startswith(_TRUNK)}, name)
    layout, params, matched, unexpected = KINDS[kind].layout, {}, {}, []
    for key, value in own.items():
        if key.startswith(_TRUNK):
            continue
        place = layouts.path(layout, key, value)
        if place is None:
            unexpected.append(key)
            continue
        matched[key] = f"{place[0]}/head/{place[1]}"
        pretrained.set_at(params, place[1].split("/"), pretrained.array(value, key))
    return Conversion(kind, trunk, params, _fields(params, kind), _outputs(params, kind), matched, unexpected)


def keep_classes(conversion: Conversion, kept: Sequence[int]) -> dict:
    """The head with the outputs of these classes alone.

    Args:
      conversion: of `convert`.
      kept: places among its outputs.

    Example:
      >>> import numpy as np
      >>> from geodesic.embedders.public_weights import detectors
      >>> logits = {"kernel": np.arange(4.0)[None], "bias": np.arange(4.0)}
      >>> made = detectors.Conversion("fcos", None, {"fcos": {"logits": logits}}, {}, 4, {}, [])
      >>> detectors.keep_classes(made, [1, 3])["fcos"]["logits"]["bias"].tolist()
      [1.0, 3.0]
    """
    head = conversion.head[conversion.kind]
    # Of several anchors of a cell, the classes of one come after those of another.
    cut = lambda values: np.ascontiguousarray(values.reshape(*values.shape[:-1], -1, conversion.outputs)[..., kept]
                                              .reshape(*values.shape[:-1], -1))
    logits = {leaf: cut(values) for leaf, values in head["logits"].items()}
    return {**conversion.head, conversion.kind: {**head, "logits": logits}}


def _fields(params: dict, kind: str) -> dict:
    """Of the section `detection`, those that the shapes tell among them."""
    pyramid, head = params.get("pyramid", {}), params.get(kind, {})
    count = lambda names, start: sum(re.fullmatch(start + r"\d", name) is not None for name in names)
    lateral = next((values["kernel"] for name, values in pyramid.items()
                    if name.startswith("lateral") and "kernel" in values), None)
    found = {"layers": ("stage2", "stage3", "stage4"), "coarser": count(pyramid, "coarser"),
             "depth": count(head.get("class_tower", {}), "conv")}
    return KINDS[kind].detection | found | ({} if lateral is None else {"channels": lateral.shape[-1]})


def _outputs(params: dict, kind: str) -> int:
    """How many classes the head has: RetinaNet's has as many for each anchor of a cell, of which it gives 4 numbers."""
    head = params.get(kind, {})
    size = lambda name: head.get(name, {}).get("kernel", np.zeros(1)).shape[-1]
    return size("logits") // (1 if kind == "fcos" else max(size(KINDS[kind].sides) // 4, 1))
