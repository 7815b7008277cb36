"""ArcFace's scale and margin together, on Omniglot characters never trained on, 3 seeds.

    geodesic sweep --sweep=scale_margin --workdir=runs/margins
"""

from geodesic.configs import sweeps


def get_sweep():
    """Makes the sweep that this file describes."""
    axes = [sweeps.grid({"loss.arcface.scale": (16.0, 32.0, 64.0), "loss.arcface.margin": (0.1, 0.3, 0.5)})]
    return sweeps.sweep(config="omniglot", axes=axes, seeds=range(3), metrics=("map@r", "recall@1"),
                        baseline="scale=32, margin=0.5")
