"""The learning rate of Muon for configs/sweeps/recipes.py, chosen on six people of the quickstart's training part.

    geodesic sweep --sweep=muon_rate --workdir=runs/muon_rate
    geodesic sweep_report --sweep=muon_rate --workdir=runs/muon_rate
"""

from geodesic.configs import sweeps


def get_sweep():
    """Makes the sweep that this file describes."""
    return sweeps.sweep(config="quickstart", common={
        "num_epochs": 15, "evaluation.every_epochs": 0.0, "optimizer.name": "muon", "train_data.classes": (0, 24),
        "test_data.classes": (24, 30)},
        axes=[sweeps.grid({"optimizer.learning_rate": (3e-4, 1e-3, 3e-3)})], metrics=("map@r", "recall@1"))
