"""Does a running average of the weights, mixup or Muon help the quickstart? And what do logits in bfloat16 cost it?

    geodesic sweep --sweep=recipes --workdir=runs/recipes
    geodesic sweep_report --sweep=recipes --workdir=runs/recipes [--baseline=softmax]

Faces of ten people never trained on, found again; a quarter of the quickstart's epochs, three seeds. Mixup gives an
image two classes, which arcface does not take: it is held against softmax alone. Muon's rate is the best of three on
people of the training part (configs/sweeps/muon_rate.py).
"""

from geodesic.configs import sweeps


def get_sweep():
    """Makes the sweep that this file describes."""
    points = [
        {"label": "arcface"},
        {"label": "arcface, logits in bfloat16", "loss.logits_dtype": "bfloat16"},
        {"label": "arcface, running average", "optimizer.ema_decay": 0.99},
        {"label": "arcface, Muon", "optimizer.name": "muon", "optimizer.learning_rate": 1e-3},
        {"label": "softmax", "loss.name": "softmax"},
        {"label": "softmax, mixup", "loss.name": "softmax", "augment.mixup_alpha": 0.2},
    ]
    return sweeps.sweep(config="quickstart", axes=[points], seeds=range(3), metrics=("map@r", "recall@1", "eer"),
                        common={"num_epochs": 15, "evaluation.every_epochs": 0.0}, baseline="arcface")
