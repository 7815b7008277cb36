"""How a ResNet-50 is best tuned to 81 kinds of groceries: chosen on val, then three seeds on test. For a GPU.

    geodesic sweep --sweep=grocery_finetuned --workdir=runs/finetuned --workers=3
    geodesic sweep --sweep=grocery_finetuned:test --workdir=runs/finetuned --workers=3

Needs grocery/{train,val,test} in the current folder and weights/keras, an imported ResNet-50 (docs/weights.md). The
choice, of the trunk's learning rate beside the head's, takes half the epochs of configs/grocery.py; test, which the
choice has not seen, takes all of them.
"""

from geodesic.configs import sweeps
from geodesic.errors import UserError

_FACTOR = "optimizer.trunk_learning_rate_factor"
_POINTS = [
    {"label": "a tenth", _FACTOR: 0.1},
    {"label": "three tenths", _FACTOR: 0.3},
    {"label": "as fast", _FACTOR: 1.0},
]


def get_sweep(part: str = "choice"):
    """Makes the sweep that chooses, or the one that tests. Raises UserError for another."""
    if part not in ("choice", "test"):
        raise UserError(f"configs/sweeps/grocery_finetuned.py has no part {part!r}; it has choice, test")
    common = {"init_from": "weights/keras", "train_data.path": "grocery/train", "run.loader_workers": 3}
    if part == "test":
        return sweeps.sweep(config="grocery:classification_finetuned", axes=[[{"label": "chosen"}]], seeds=range(3),
                            metrics=("top1", "top5"), common=common | {"test_data.path": "grocery/test"})
    return sweeps.sweep(config="grocery:classification_finetuned", axes=[_POINTS], metrics=("top1", "nll"),
                        common=common | {"test_data.path": "grocery/val", "num_epochs": 8})
