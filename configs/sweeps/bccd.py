"""Blood cells found with the maps of many trunks: trained on ImageNet, tuned, trained with ArcFace, or not at all.

    geodesic sweep --sweep=bccd --workdir=runs/bccd
    geodesic sweep --sweep=bccd:choice --workdir=runs/bccd
    geodesic sweep --sweep=bccd:trunks --workdir=runs/bccd
    geodesic sweep --sweep=bccd:scratch --workdir=runs/bccd

Needs bccd/{train,val,test}.json and bccd/images in the current folder, and weights/keras, an imported ResNet-50
(docs/weights.md). Trained on the repository's train and val, tested on its test, as `configs/bccd.py` says, with three
seeds. The first is for two CPU cores. For a GPU are choice, of how a tuned trunk learns, on train and val alone;
trunks, which also needs weights/arcface: a run of `--config=grocery:retrieval_pretrained`, or another trunk of ArcFace;
and scratch, of trunks without public weights here, which learn from nothing. Choice and scratch take one seed.
"""

from geodesic.configs import sweeps
from geodesic.errors import UserError

_KERAS = {"init_from": "weights/keras"}
_LEARNS = {"detection.kept_views": 0, "embedder.dtype": "bfloat16", "run.loader_workers": 3}
_TUNED = _KERAS | _LEARNS | {"optimizer.trunk_learning_rate_factor": 0.1}
_LARGE = {"detection.height": 480, "detection.width": 640}
# Without public weights here: these learn from nothing.
_SCRATCH = _LEARNS | {"optimizer.trunk_learning_rate_factor": 1.0, "embedder.batch_norm": "local",
                      "embedder.version": None, "embedder.bn_epsilon": None, "embedder.bn_momentum": None}
_POINTS = {
    "": [{"label": "ImageNet"} | _KERAS, {"label": "random trunk"}],
    "choice": [
        {"label": "frozen"} | _KERAS,
        {"label": "tuned, a tenth"} | _TUNED,
        {"label": "tuned, as fast"} | _TUNED | {"optimizer.trunk_learning_rate_factor": 1.0},
        {"label": "tuned, a tenth, 640 x 480"} | _TUNED | _LARGE,
        {"label": "tuned, a tenth, 640 x 480, colours"} | _TUNED | _LARGE | {
            "box_augment.color_jitter": (0.2, 0.2, 0.2, 0.02)},
        {"label": "tuned, a tenth, 640 x 480, mosaic"} | _TUNED | _LARGE | {"box_augment.mosaic": 0.3},
    ],
    "trunks": [
        {"label": "ImageNet, frozen"} | _KERAS,
        {"label": "ImageNet, tuned, 640 x 480"} | _TUNED | _LARGE,
        {"label": "ImageNet, tuned"} | _TUNED,
        {"label": "untrained, frozen"},
        {"label": "ArcFace, frozen", "init_from": "weights/arcface"},
    ],
    "scratch": [{"label": f"{name} from nothing", "embedder.name": name} | _SCRATCH
                for name in ("resnet50", "resnet101", "resnext50_32x4d", "inception_bn")],
}


def get_sweep(part: str = ""):
    """Makes the sweep, or one of its parts. Raises UserError for another."""
    if part not in _POINTS:
        raise UserError(f"configs/sweeps/bccd.py has no part {part!r}; it has {', '.join(filter(None, _POINTS))}")
    train, test = ("train", "val") if part == "choice" else ("{train,val}", "test")
    return sweeps.sweep(config="bccd", axes=[_POINTS[part]], seeds=range(3 if part in ("", "trunks") else 1),
                        metrics=("ap", "ap50", "ap75"), baseline=_POINTS[part][0]["label"],
                        common={"train_data.path": f"bccd/{train}.json#images",
                                "test_data.path": f"bccd/{test}.json#images"})
