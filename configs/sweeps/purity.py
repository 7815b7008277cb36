"""Does a margin make the axes of an embedding purer than directions drawn at random? On Omniglot, 3 seeds.

    geodesic sweep --sweep=purity --workdir=runs/purity
    python -m benchmarks.purity --workdir=runs/purity

Needs omniglot.npz in the current folder. The same network and recipe with four losses: a softmax, one of cosines, and
two with margins; six epochs, as the question is of networks that have learnt.
"""

from geodesic.configs import sweeps


def get_sweep():
    """Makes the sweep that this file describes."""
    points = [
        {"label": "softmax", "loss.name": "softmax"},
        {"label": "normface", "loss.name": "normface"},
        {"label": "cosface", "loss.name": "cosface", "loss.cosface.margin": 0.35},
        {"label": "arcface", "loss.name": "arcface", "loss.arcface.margin": 0.5},
    ]
    return sweeps.sweep(config="omniglot", axes=[points], seeds=range(3), metrics=("map@r", "recall@1"),
                        common={"num_epochs": 6, "evaluation.every_epochs": 0.0}, baseline="softmax")
