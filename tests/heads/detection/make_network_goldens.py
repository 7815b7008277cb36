"""Writes goldens/network.npz: what torchvision's pyramid and FCOS's head give of the weights of network_cases.

    pip install torch torchvision==0.16.2
    python -m tests.heads.detection.make_network_goldens
"""

import functools
import pathlib

import numpy as np
import torch
from torchvision.models.detection import fcos
from torchvision.ops import feature_pyramid_network

from tests.heads.detection import network_cases as cases

FILE = pathlib.Path(__file__).parent / "goldens" / "network.npz"


def named() -> dict[str, torch.Tensor]:
    """The weights by torchvision's names, where "head." is of FCOSHead."""
    modules = {}
    for place, name in enumerate(cases.LAYERS):
        modules |= {f"pyramid/lateral_{name}": f"inner_blocks.{place}.0", f"pyramid/output_{name}":
                    f"layer_blocks.{place}.0"}
    modules |= {f"pyramid/coarser{place + 1}": f"extra_blocks.p{place + 6}" for place in range(cases.COARSER)}
    for tower, head in (("class", "classification_head"), ("box", "regression_head")):
        for place in range(cases.DEPTH):  # each is a convolution, GroupNorm and ReLU
            modules |= {f"fcos/{tower}_tower/conv{place + 1}": f"head.{head}.conv.{3 * place}",
                        f"fcos/{tower}_tower/norm{place + 1}": f"head.{head}.conv.{3 * place + 1}"}
    modules |= {"fcos/logits": "head.classification_head.cls_logits", "fcos/distances": "head.regression_head.bbox_reg",
                "fcos/centerness": "head.regression_head.bbox_ctrness"}
    found = {}
    for path, values in cases.weights().items():
        module, _, name = path.rpartition("/")
        values = torch.tensor(values)
        found[f"{modules[module]}.{'bias' if name == 'bias' else 'weight'}"] = (
            values.permute(3, 2, 0, 1) if name == "kernel" else values)
    return found


def main() -> None:
    pyramid = feature_pyramid_network.FeaturePyramidNetwork(
        [shape[2] for shape in cases.LAYERS.values()], cases.CHANNELS,
        extra_blocks=feature_pyramid_network.LastLevelP6P7(cases.CHANNELS, cases.CHANNELS))
    norm = functools.partial(torch.nn.GroupNorm, 32)
    head = fcos.FCOSHead(cases.CHANNELS, 1, cases.NUM_CLASSES, cases.DEPTH)
    head.regression_head = fcos.FCOSRegressionHead(cases.CHANNELS, 1, cases.DEPTH, norm)
    head.classification_head = fcos.FCOSClassificationHead(cases.CHANNELS, 1, cases.NUM_CLASSES, cases.DEPTH,
                                                           norm_layer=norm)
    given = named()
    pyramid.load_state_dict({name: values for name, values in given.items() if not name.startswith("head.")})
    head.load_state_dict({name.removeprefix("head."): values for name, values in given.items()
                          if name.startswith("head.")})
    with torch.no_grad():
        maps = pyramid({name: torch.tensor(x).permute(0, 3, 1, 2) for name, x in cases.layers().items()})
        outputs = head(list(maps.values()))
    print([tuple(level.shape) for level in maps.values()], {name: tuple(x.shape) for name, x in outputs.items()})
    np.savez_compressed(FILE, **{f"map{place}": level.permute(0, 2, 3, 1).numpy()
                                 for place, level in enumerate(maps.values())},
                        logits=outputs["cls_logits"].numpy(), distances=outputs["bbox_regression"].numpy(),
                        centerness=outputs["bbox_ctrness"][..., 0].numpy())


if __name__ == "__main__":
    main()
