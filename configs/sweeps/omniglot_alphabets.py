"""What tells the characters of one alphabet apart: margins, distortions, rotations as classes, centres, pixels, trunks.

    geodesic sweep --sweep=omniglot_alphabets --workdir=runs/alphabets --workers=2
    geodesic sweep --sweep=omniglot_alphabets:long --workdir=runs/alphabets_long --workers=2
    geodesic sweep --sweep=omniglot_alphabets:resnet18 --workdir=runs/alphabets --workers=4     # for a GPU

Needs omniglot.npz in the current folder. Trains on the first 780 characters of the background, of 24 alphabets, and
chooses by the other 184, of 6 alphabets; the evaluation set has no part in it. The first is about the row background of
configs/papers/omniglot.py, before it took the scale and margin that were best, and takes nine minutes of a core for
each point; the second about background_long, with four times the steps; the third about background_resnet18, and has
not been run whole.
"""

from geodesic.configs import sweeps
from geodesic.errors import UserError

_AFFINE = {"augment.rotation": 15.0, "augment.translation": 0.1, "augment.scaling": 0.3, "augment.shear": 0.3}
_NO_ROTATIONS = {"train_data.name": "omniglot", "train_data.classes": (0, 780)}
_RESNET8 = [
    {"label": "as it was"},
    {"label": "scale 16, margin .5", "loss.arcface.scale": 16.0, "loss.arcface.margin": 0.5},
    {"label": "mirrored", "train_data.name": "omniglot_dihedral", "train_data.classes": (0, 8 * 780)},
    {"label": "affine"} | _AFFINE,
    {"label": "affine and elastic", "augment.elastic": 0.02} | _AFFINE,
    {"label": "scale 16, margin .3", "loss.arcface.scale": 16.0, "loss.arcface.margin": 0.3},
    {"label": "scale 16, margin .7", "loss.arcface.scale": 16.0, "loss.arcface.margin": 0.7},
    {"label": "dropout .4", "embedder.dropout": 0.4},
]

# In a training as short as that of resnet8 distortions cost more than they gave.
_LONG = [
    {"label": "distorted", "augment.elastic": 0.02} | _AFFINE,
    {"label": "as the short one"},
]

_DISTORTED = {"augment.shear": 0.3, "augment.elastic": 0.02}
_RESNET18 = [
    {"label": "distorted"} | _DISTORTED,
    {"label": "affine", "augment.shear": 0.0, "augment.elastic": 0.0},
    {"label": "distorted more", "augment.shear": 0.4, "augment.elastic": 0.035, "augment.scaling": 0.4,
     "augment.rotation": 20.0},
    {"label": "distorted, margin .5", "loss.arcface.margin": 0.5} | _DISTORTED,
    {"label": "distorted, 80 px", "input.image_size": 80} | _DISTORTED,
    {"label": "distorted, resnet34", "embedder.name": "resnet34"} | _DISTORTED,
    {"label": "distorted, no rotations"} | _NO_ROTATIONS | _DISTORTED,
    {"label": "distorted, sub-centres", "loss.name": "subcenter_arcface", "loss.subcenter_arcface.scale": 32.0,
     "loss.subcenter_arcface.margin": 0.3} | _DISTORTED,
    {"label": "distorted, resnet8", "embedder.name": "resnet8"} | _DISTORTED,
]
# Part -> row of the papers, points, and what they all have.
_PARTS = {
    "resnet8": ("background", _RESNET8,
                {"total_steps": 1463, "evaluation.every_epochs": 0.0, "loss.arcface.scale": 32.0,
                 "loss.arcface.margin": 0.3}),
    "long": ("background_long", _LONG, {"total_steps": 4 * 1463, "evaluation.every_epochs": 0.0}),
    "resnet18": ("background_resnet18", _RESNET18,
                 {"optimizer.ema_decay": 0.995, "run.loader_workers": 3, "total_steps": 1500}),
}


def get_sweep(part: str = "resnet8"):
    """Makes one of the three sweeps: resnet8, long or resnet18. Raises UserError for another name."""
    if part not in _PARTS:
        raise UserError(f"the parts of configs/sweeps/omniglot_alphabets.py are {', '.join(_PARTS)}, not {part!r}")
    row, points, common = _PARTS[part]
    return sweeps.sweep(
        config=f"papers/omniglot:{row}", axes=[points], metrics=("map@r", "recall@1", "eer"),
        baseline=points[0]["label"],
        common={"train_data.path": "omniglot.npz", "train_data.classes": (0, 4 * 780), "test_data.name": "omniglot",
                "test_data.path": "omniglot.npz", "test_data.classes": (780, 964)} | common)
