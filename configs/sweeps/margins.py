"""The margins of the 2018 ablation (Deng et al., arXiv:1801.07698), on Omniglot characters never trained on, 5 seeds.

    python -m experiments.sweep --sweep=configs/sweeps/margins.py --workdir=runs/margins
    python -m experiments.sweep_report --sweep=configs/sweeps/margins.py --workdir=runs/margins

Needs omniglot.npz in the current folder. There the margins are (factor of the angle, radians, cosine) on faces; here on
300 characters, at scale 32, for 3 epochs: what is compared is the margins' order, not the figures.
"""

from configs import sweeps

_COMBINED = ((1.2, 0.4, 0.0), (1.1, 0.0, 0.35), (1.0, 0.3, 0.2), (0.9, 0.4, 0.15))


def get_sweep():
    points = [
        {"label": "normalised softmax", "loss.name": "normface"},
        {"label": "sphere 1.35", "loss.name": "sphereface", "loss.sphereface.m1": 1.35},
        {"label": "cos .35", "loss.name": "cosface", "loss.cosface.margin": 0.35},
        {"label": "arc .5", "loss.name": "arcface", "loss.arcface.margin": 0.5},
        *({"label": f"combined {margins}", "loss.name": "combined", "loss.combined.margins": margins}
          for margins in _COMBINED),
    ]
    return sweeps.sweep(config="configs/omniglot.py", axes=[points], seeds=range(5),
                        metrics=("map@r", "recall@1", "eer"),
                        baseline="normalised softmax")
