"""The margins of the 2018 ablation (Deng et al., arXiv:1801.07698), on Omniglot characters never trained on, 5 seeds.

    geodesic sweep --sweep=margins --workdir=runs/margins
    geodesic sweep_report --sweep=margins --workdir=runs/margins

Needs omniglot.npz in the current folder. There the margins are (factor of the angle, radians, cosine) on faces; here on
300 characters, at scale 32, for 3 epochs: what is compared is the margins' order, not the figures. The paper's own
(LFW, CFP-FP, AgeDB-30; IResNet-100 on MS1M) stand beside them; its sphere has a factor of 1.5.
"""

from geodesic.configs import sweeps

_COMBINED = ((1.2, 0.4, 0.0), (1.1, 0.0, 0.35), (1.0, 0.3, 0.2), (0.9, 0.4, 0.15))
# Accuracies in %, as published.
_PAPER = {
    "normalised softmax": (99.28, 88.50, 95.13),
    "cos .35": (99.80, 94.4, 97.91),
    "arc .5": (99.83, 94.04, 98.08),
    "combined (1.2, 0.4, 0.0)": (99.80, 94.08, 98.05),
    "combined (1.1, 0.0, 0.35)": (99.81, 94.50, 98.08),
    "combined (1.0, 0.3, 0.2)": (99.83, 94.51, 98.13),
    "combined (0.9, 0.4, 0.15)": (99.83, 94.20, 98.16),
}


def get_sweep():
    """Makes the sweep that this file describes."""
    points = [
        {"label": "normalised softmax", "loss.name": "normface"},
        {"label": "sphere 1.35", "loss.name": "sphereface", "loss.sphereface.m1": 1.35},
        {"label": "cos .35", "loss.name": "cosface", "loss.cosface.margin": 0.35},
        {"label": "arc .5", "loss.name": "arcface", "loss.arcface.margin": 0.5},
        *({"label": f"combined {margins}", "loss.name": "combined", "loss.combined.margins": margins}
          for margins in _COMBINED),
    ]
    return sweeps.sweep(config="omniglot", axes=[points], seeds=range(5),
                        metrics=("map@r", "recall@1", "eer"),
                        baseline="normalised softmax",
                        paper={label: dict(zip(("LFW", "CFP-FP", "AgeDB-30"), figures, strict=True))
                               for label, figures in _PAPER.items()})
