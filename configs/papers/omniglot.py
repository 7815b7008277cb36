"""Omniglot: an angular margin on the background characters, measured by the protocols of the few-shot literature.

    geodesic train --config=papers/omniglot:few_shot_vinyals --workdir=runs/omniglot \\
        --config.train_data.path=omniglot.npz --config.test_data.path=omniglot.npz
    geodesic evaluate --workdir=runs/omniglot --protocol=omniglot_few_shot_vinyals --data=omniglot.npz

The figures are of other methods, trained for episodes or pairs: to be beaten, not reproduced. few_shot_vinyals, on the
1,200 characters of Vinyals's split: Snell, Swersky, Zemel: Prototypical Networks, 2017, arXiv:1703.05175. The other
rows train on the 964 characters of the background, each with its own trunk, and are measured under
omniglot_one_shot_lake and omniglot_verification (Koch, Zemel, Salakhutdinov: Siamese Neural Networks for One-shot Image
Recognition, 2015; people on the first: 95.5) and under omniglot_within_alphabet and omniglot_retrieval, for which no
public table is known. The rotations of a character are classes of their own, so that `--quarter_turns` helps.
background, background_resnext and background_inception_bn differ in the trunk alone, and have as many steps as take the
same seconds of a core. background_long gives the first eight epochs in place of three, and averages its weights.
Trunks, pixels and epochs are what two CPU cores can do; benchmarks/results/omniglot.md has what they reach, the seconds
of processor, and which differences between the trunks are real.
"""

from geodesic.configs import papers

_PROTOTYPICAL = {"5way_1shot": 0.988, "5way_5shot": 0.997, "20way_1shot": 0.960, "20way_5shot": 0.989}
# Published under each protocol.
_FIGURES = {
    "omniglot_few_shot_vinyals": _PROTOTYPICAL,
    "omniglot_one_shot_lake": {"one_shot_20way": 0.920},
    "omniglot_verification": {"pair_accuracy": 0.9342},
}
_BACKGROUND = ("omniglot_one_shot_lake", "omniglot_verification")
# Row -> the protocols under which something was published.
_ROWS = {"few_shot_vinyals": ("omniglot_few_shot_vinyals",), "background": _BACKGROUND,
         "background_long": _BACKGROUND, "background_resnet18": _BACKGROUND,
         "background_resnext": _BACKGROUND, "background_inception_bn": _BACKGROUND}
ROWS = tuple(_ROWS)
# Row -> the trunk, and the steps that it has time for while background makes its 1,808.
_EQUAL_TIME = {"background_resnext": ({"name": "resnext11_16x4d"}, 1045),
               "background_inception_bn": ({"name": "inception_bn", "stem": None}, 305)}


def get_config(row: str = "few_shot_vinyals"):
    """Makes the configuration of one of ROWS. Raises UserError for another."""
    config = papers.start("omniglot", row, ROWS)
    if row == "few_shot_vinyals":
        papers.use(config, "omniglot_few_shot_vinyals")
    else:
        papers.use(config, "omniglot_retrieval")
        # Each character in its four rotations is four classes.
        config.train_data.update(name="omniglot_rotations", classes=(0, 4 * 964))
    config.input.update(image_size=28, fit="stretch")
    config.augment.update(horizontal_flip=0.0, rotation=10.0, translation=0.08, scaling=0.15)
    config.loss.name = "arcface"
    config.loss.arcface.update(scale=32.0, margin=0.3)
    config.optimizer.update(name="adamw", learning_rate=2e-3, weight_decay=0.1)
    config.schedule.update(name="cosine", warmup_epochs=1.0)
    config.batch_size, config.num_epochs = 128, 6
    config.run.update(log_every_steps=100, checkpoint_every_steps=1000)
    if row == "few_shot_vinyals":
        config.embedder.update(name="resnet8", embedding_size=256, stem="half")
        return config
    # Chosen on 184 held-out characters of the background (configs/sweeps/omniglot_alphabets.py): a margin of .7 is not
    # told apart there, and learns later.
    config.loss.arcface.update(scale=16.0, margin=0.5)
    # Characters of one alphabet differ in small things: twice the pixels, and an embedding that knows where.
    config.input.image_size, config.num_epochs = 56, 3
    config.schedule.warmup_epochs = 0.3
    config.embedder.update(name="resnet8", embedding_size=256, stem="imagenet", pooling="flatten", neck="bn_fc_bn")
    if row == "background_long":
        # Without distortions: configs/sweeps/omniglot_alphabets.py:long.
        config.num_epochs, config.schedule.warmup_epochs, config.optimizer.ema_decay = 8, 1.0, 0.999
    if row == "background_resnet18":
        _on_a_gpu(config)
    if row in _EQUAL_TIME:
        trunk, config.total_steps = _EQUAL_TIME[row]
        config.embedder.update(trunk)
        config.schedule.warmup_epochs *= config.total_steps / 1808
    return config


def _on_a_gpu(config) -> None:
    """What a GPU does in minutes. Distortions near to Koch's, set beforehand, by no score."""
    config.input.image_size = 64
    config.augment.update(rotation=15.0, translation=0.1, scaling=0.3, shear=0.3, elastic=0.02)
    config.loss.arcface.update(scale=32.0, margin=0.3)
    config.embedder.update(name="resnet18", dtype="bfloat16")
    config.optimizer.ema_decay = 0.999
    config.batch_size, config.num_epochs = 256, 10
    config.schedule.warmup_epochs = 1.0
    config.run.update(checkpoint_every_steps=2000, loader_workers=4)


def expected(row: str) -> list[dict]:
    """Lists the figures that were published for a row, as `papers.expect` has them."""
    return [papers.expect(protocol, metric, value, 0.003, same_recipe=False, note="another method's")
            for protocol in _ROWS[row] for metric, value in _FIGURES[protocol].items()]
