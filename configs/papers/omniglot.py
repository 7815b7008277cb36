"""Omniglot: an angular margin on the background characters, measured by the protocols of the few-shot literature.

    python -m experiments.train --config=configs/papers/omniglot.py:few_shot_vinyals --workdir=runs/omniglot \\
        --config.train_data.path=omniglot.npz --config.test_data.path=omniglot.npz
    python -m experiments.evaluate --workdir=runs/omniglot --protocol=omniglot_few_shot_vinyals --data=omniglot.npz

The figures are of other methods, trained for episodes or pairs: to be beaten, not reproduced. few_shot_vinyals:
Snell, Swersky, Zemel: Prototypical Networks, 2017, arXiv:1703.05175. one_shot_lake and verification: Koch, Zemel,
Salakhutdinov: Siamese Neural Networks for One-shot Image Recognition, 2015 (people on one_shot_lake: 95.5).
retrieval: no public table of background -> evaluation is known; its other rows are the other trunks. All train on
characters and their rotations, each rotation a class: of the 1,200 characters of Vinyals's split, or of the 964 of the
background. The trunks and epochs are what two CPU cores can do; benchmarks/results/omniglot.md has what they reach.
"""

from configs import papers

_PROTOTYPICAL = {"5way_1shot": 0.988, "5way_5shot": 0.997, "20way_1shot": 0.960, "20way_5shot": 0.989}
# Row -> (protocol, {metric: published}).
_ROWS = {
    "few_shot_vinyals": ("omniglot_few_shot_vinyals", _PROTOTYPICAL),
    "one_shot_lake": ("omniglot_one_shot_lake", {"one_shot_20way": 0.920}),
    "verification": ("omniglot_verification", {"pair_accuracy": 0.9342}),
    "retrieval": ("omniglot_retrieval", {}),
    "retrieval_resnext": ("omniglot_retrieval", {}),
    "retrieval_inception_bn": ("omniglot_retrieval", {}),
}
ROWS = tuple(_ROWS)
# Each background character in its four rotations is four classes.
_BACKGROUND = (0, 4 * 964)


def get_config(row: str = "few_shot_vinyals"):
    config = papers.start("omniglot", row, ROWS)
    papers.use(config, _ROWS[row][0])
    if row != "few_shot_vinyals":
        config.train_data.update(name="omniglot_rotations", classes=_BACKGROUND)
    config.input.update(image_size=28, fit="stretch")
    config.augment.update(horizontal_flip=0.0, rotation=10.0, translation=0.08, scaling=0.15)
    config.loss.name = "arcface"
    config.loss.arcface.update(scale=32.0, margin=0.3)
    config.optimizer.update(name="adamw", learning_rate=2e-3, weight_decay=0.1)
    config.schedule.update(name="cosine", warmup_epochs=1.0)
    config.batch_size, config.num_epochs = 128, 6
    config.run.update(log_every_steps=100, checkpoint_every_steps=1000)
    match row:
        case "retrieval_resnext":
            config.embedder.update(name="resnext11_16x4d", embedding_size=256)
        case "retrieval_inception_bn":
            config.embedder.update(name="inception_bn", embedding_size=256)
            papers.use(config, "omniglot_retrieval")  # without rotations: each epoch is a quarter as long
            config.input.image_size, config.num_epochs = 40, 4
        case _:
            config.embedder.update(name="resnet8", embedding_size=256, stem="half")
    return config


def expected(row: str) -> list[dict]:
    protocol, figures = _ROWS[row]
    return [papers.expect(protocol, metric, value, 0.003, same_recipe=False, note="another method's")
            for metric, value in figures.items()]
