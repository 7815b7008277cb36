"""What arcface does past theta + m = pi, on Omniglot characters never trained on, 3 seeds.

    geodesic sweep --sweep=gradient_modes --workdir=runs/margins

In the workdir of configs/sweeps/margins.py it finds the trials of "fallback", which are the same runs.
"""

from geodesic.configs import sweeps


def get_sweep():
    """Makes the sweep that this file describes."""
    modes = ("fallback", "full", "easy", "detached", "clip")
    points = [{"label": mode, "loss.arcface.margin": 0.5, "loss.arcface.gradient": mode} for mode in modes]
    return sweeps.sweep(config="omniglot", axes=[points], seeds=range(3),
                        metrics=("map@r", "recall@1", "eer"))
