"""Three trunks with the same seconds of processor, on Omniglot characters never trained on, 3 seeds.

    geodesic sweep --sweep=trunks --workdir=runs/trunks

Needs omniglot.npz in the current folder; has not been run yet. The recipe is that of papers/omniglot:background, the
964 characters of the background and their rotations at 56 px, of which the ResNet sees three epochs; what is searched
are the 659 characters of the evaluation set. A step of the others takes 2.0 and 6.6 times as long (of processor, two
cores of a Xeon), so they have as many fewer steps, and a warm-up that is as much shorter.
"""

from geodesic.configs import sweeps

_STEPS = {"resnet8": 1808, "resnext11_16x4d": 900, "inception_bn": 272}


def get_sweep():
    """Makes the sweep that this file describes."""
    points = [{"label": trunk, "embedder.name": trunk, "total_steps": steps,
               "embedder.stem": None if trunk == "inception_bn" else "imagenet",
               "schedule.warmup_epochs": 0.3 * steps / _STEPS["resnet8"]} for trunk, steps in _STEPS.items()]
    return sweeps.sweep(
        config="papers/omniglot:background", axes=[points], seeds=range(3), metrics=("map@r", "recall@1", "eer"),
        baseline="resnet8", common={"train_data.path": "omniglot.npz", "test_data.path": "omniglot.npz",
                                    "evaluation.every_epochs": 0.0})
