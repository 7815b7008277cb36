"""The margin ablation of 2018: MS1M, IResNet-100, one margin a row.

    geodesic train --config=papers/margin_ablation:arc_050 --workdir=runs/arc_050 \\
        --config.train_data.path=faces/faces_ms1m_112x112/train.rec --config.test_data.path=faces/lfw.bin
    geodesic evaluate --workdir=runs/arc_050 --protocol=lfw --data=faces

SGD .1 for a batch of 512, momentum .9, weight decay 5e-4, the rate divided by 10 at updates 100,000, 140,000 and
160,000, flips only. Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698v1; margins as (factor of the angle,
radians, cosine).
"""

from geodesic.configs import papers

# Row -> (margins, LFW, CFP-FP, AgeDB-30).
_ROWS = {
    "softmax_norm": (None, 0.9928, 0.8850, 0.9513),
    "sphere_150": ((1.5, 0.0, 0.0), 0.9976, 0.9417, 0.9730),
    "cos_035": ((1.0, 0.0, 0.35), 0.9980, 0.944, 0.9791),
    "arc_050": ((1.0, 0.5, 0.0), 0.9983, 0.9404, 0.9808),
    "combined_120_040_000": ((1.2, 0.4, 0.0), 0.9980, 0.9408, 0.9805),
    "combined_110_000_035": ((1.1, 0.0, 0.35), 0.9981, 0.9450, 0.9808),
    "combined_100_030_020": ((1.0, 0.3, 0.2), 0.9983, 0.9451, 0.9813),
    "combined_090_040_015": ((0.9, 0.4, 0.15), 0.9983, 0.9420, 0.9816),
}
ROWS = tuple(_ROWS)
_TOLERANCES = {"lfw": 0.001, "cfp_fp": 0.005, "agedb_30": 0.003}
# An "epoch" here is 1,000 updates: the recipe counts in updates.
_UPDATES = 1_000


def get_config(row: str = "arc_050"):
    """Makes the configuration of one of ROWS. Raises UserError for another."""
    config = papers.start("margin_ablation", row, ROWS)
    margins = _ROWS[row][0]
    config.train_data.name = "record_io"
    config.test_data.update(name="pair_images", path="lfw.bin")
    config.input.update(image_size=112, fit="stretch")
    config.augment.horizontal_flip = 0.5
    config.embedder.update(name="iresnet100", embedding_size=512)
    config.loss.name = "combined" if margins else "normface"
    config.loss.combined.update(scale=64.0, margins=margins or (1.0, 0.5, 0.0))
    config.loss.normface.scale = 64.0
    config.batch_size = 512
    config.items_per_epoch, config.num_epochs = _UPDATES * config.batch_size, 180
    config.optimizer.update(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
    config.schedule.update(name="step", step_epochs=(100.0, 140.0, 160.0), step_factor=0.1, warmup_epochs=0.0)
    config.evaluation.update(average_horizontal_flips=True)
    return config


def expected(row: str) -> list[dict]:
    """Lists the figures that were published for a row, as `papers.expect` has them."""
    return [papers.expect(protocol, "accuracy_10fold", value, tolerance) for (protocol, tolerance), value in
            zip(_TOLERANCES.items(), _ROWS[row][1:], strict=True)]
