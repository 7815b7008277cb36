"""What tells the characters of one alphabet apart: distortions, pixels, trunks, margins, centres, rotations. For a GPU.

    geodesic sweep --sweep=omniglot_alphabets --workdir=runs/alphabets --workers=4

Needs omniglot.npz in the current folder. Trains on the first 780 characters of the background, of 24 alphabets, and
chooses by the other 184, of 6 alphabets; the evaluation set has no part in it. It is about the row background_resnet18
of configs/papers/omniglot.py, and has not been run whole.
"""

from geodesic.configs import sweeps

_DISTORTED = {"augment.shear": 0.3, "augment.elastic": 0.02}
_POINTS = [
    {"label": "distorted"} | _DISTORTED,
    {"label": "affine", "augment.shear": 0.0, "augment.elastic": 0.0},
    {"label": "distorted more", "augment.shear": 0.4, "augment.elastic": 0.035, "augment.scaling": 0.4,
     "augment.rotation": 20.0},
    {"label": "distorted, margin .5", "loss.arcface.margin": 0.5} | _DISTORTED,
    {"label": "distorted, 80 px", "input.image_size": 80} | _DISTORTED,
    {"label": "distorted, resnet34", "embedder.name": "resnet34"} | _DISTORTED,
    {"label": "distorted, no rotations", "train_data.name": "omniglot", "train_data.classes": (0, 780)} | _DISTORTED,
    {"label": "distorted, sub-centres", "loss.name": "subcenter_arcface", "loss.subcenter_arcface.scale": 32.0,
     "loss.subcenter_arcface.margin": 0.3} | _DISTORTED,
    {"label": "distorted, resnet8", "embedder.name": "resnet8"} | _DISTORTED,
]


def get_sweep():
    """Makes the sweep."""
    return sweeps.sweep(
        config="papers/omniglot:background_resnet18", axes=[_POINTS], metrics=("map@r", "recall@1", "eer"),
        baseline="distorted",
        common={"train_data.path": "omniglot.npz", "train_data.classes": (0, 4 * 780), "test_data.name": "omniglot",
                "test_data.path": "omniglot.npz", "test_data.classes": (780, 964), "optimizer.ema_decay": 0.995,
                "run.loader_workers": 3, "total_steps": 1500})
