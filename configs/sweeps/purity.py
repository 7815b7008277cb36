"""Does a margin make the axes of an embedding purer than directions drawn at random? On Omniglot or Grocery, 3 seeds.

    geodesic sweep --sweep=purity --workdir=runs/purity
    geodesic sweep --sweep=purity:grocery --workdir=runs/purity_grocery

Needs omniglot.npz in the current folder, or grocery/train and grocery/test. The same network and recipe with four
losses: a softmax, one of cosines, and two with margins; six epochs of Omniglot and eight of Grocery, as the question is
of networks that have learnt. Classes of the test data are none of the training data's.
"""

from geodesic.configs import sweeps
from geodesic.errors import UserError

# The argument -> the configuration, its common fields, the scale of the cosines (None: as configured) and the margins
# of cosface and arcface, which take about as much from the cosine at 45 degrees.
_OF = {
    "omniglot": ("omniglot", {"num_epochs": 6}, None, 0.35, 0.5),
    "grocery": ("grocery:retrieval", {"train_data.path": "grocery/train", "test_data.path": "grocery/test"},
                16.0, 0.2, 0.3),
}


def get_sweep(of: str = "omniglot"):
    """Makes the sweep of one of _OF. Raises UserError for another."""
    if of not in _OF:
        raise UserError(f"configs/sweeps/purity.py has no data {of!r}; it has {', '.join(_OF)}")
    config, common, scale, cosface, arcface = _OF[of]
    scaled = lambda loss: {"loss.name": loss} | ({f"loss.{loss}.scale": scale} if scale else {})
    points = [
        {"label": "softmax", "loss.name": "softmax"},
        {"label": "normface", **scaled("normface")},
        {"label": "cosface", **scaled("cosface"), "loss.cosface.margin": cosface},
        {"label": "arcface", **scaled("arcface"), "loss.arcface.margin": arcface},
    ]
    return sweeps.sweep(config=config, axes=[points], seeds=range(3), metrics=("map@r", "recall@1"),
                        common=common | {"evaluation.every_epochs": 0.0}, baseline="softmax")
