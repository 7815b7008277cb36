"""Face recognition as arcface_torch trains it: MS1MV2, MS1MV3, Glint360K, WebFace42M and CASIA-WebFace.

    geodesic train --config=papers/arcface_torch:ms1mv3_r50 --workdir=runs/ms1mv3_r50 \\
        --config.train_data.path=faces/ms1m-retinaface-t1/train.rec --config.test_data.path=faces/lfw.bin
    geodesic evaluate --workdir=runs/ms1mv3_r50 --protocol=ijb_c --data=ijb

SGD .1 for a batch of 8 x 128, momentum .9, weight decay 5e-4 (1e-4 for Glint360K), 20 epochs, no warm-up, polynomial
decay of power 2, the embedder's gradient clipped to 5, flips only; the neck in float32 below a half-precision trunk.
While it trains, the run is watched on the images of lfw.bin; the ten-fold figure is that of --protocol=lfw.
Deng, Guo, Xue, Zafeiriou: ArcFace, 2018, arXiv:1801.07698. An, Deng, Guo et al.: Killing Two Birds with One Stone
(Partial FC), 2022, arXiv:2203.15565. Figures: the model zoo of deepinsight/insightface.
"""

from geodesic.configs import papers

_IJB_TOLERANCE = 0.003

# Row -> (loss, margin, trunk, weight decay, share of the classes in a step, IJB-C TAR at 1e-4 and 1e-5).
_SETS = {
    "ms1mv2": ("arcface", 0.5, 5e-4, 1.0, {"r50": (0.9597, 0.9407), "r100": (0.9637, 0.9427)}),
    "ms1mv3": ("arcface", 0.5, 5e-4, 1.0, {"r50": (0.9637, 0.9447), "r100": (0.9685, 0.9502)}),
    "glint360k": ("cosface", 0.4, 1e-4, 1.0, {"r50": (0.9716, 0.9581), "r100": (0.9755, 0.9638)}),
    "webface42m": ("cosface", 0.4, 5e-4, 0.2, {"r50": (0.9753, 0.9616), "r100": (0.9770, 0.9631)}),
    "casia": ("arcface", 0.5, 5e-4, 1.0, {"r50": ()}),
}
ROWS = tuple(f"{name}_{trunk}" for name, (*_, trunks) in _SETS.items() for trunk in trunks)
# LFW, CFP-FP, AgeDB-30, and their tolerances.
_CASIA = (("lfw", 0.9945, 0.001), ("cfp_fp", 0.9521, 0.005), ("agedb_30", 0.9490, 0.005))


def get_config(row: str = "ms1mv3_r50"):
    """Makes the configuration of one of ROWS. Raises UserError for another."""
    config = papers.start("arcface_torch", row, ROWS)
    name, trunk = row.rsplit("_", 1)
    loss, margin, weight_decay, sample_rate, _ = _SETS[name]
    config.train_data.name = "record_io"
    config.test_data.update(name="pair_images", path="lfw.bin")
    config.input.update(image_size=112, fit="stretch")
    config.augment.horizontal_flip = 0.5
    config.embedder.update(name={"r50": "iresnet50", "r100": "iresnet100"}[trunk], embedding_size=512,
                           dtype="bfloat16")
    config.loss.name = loss
    config.loss[loss].update(scale=64.0, margin=margin)
    config.loss.update(sample_rate=sample_rate)
    config.optimizer.update(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=weight_decay,
                            embedder_clip_norm=5.0)
    config.schedule.update(name="polynomial", power=2.0, end_factor=0.0, warmup_epochs=0.0)
    config.batch_size, config.num_epochs = 1024, 20
    if name == "webface42m" and trunk == "r50":  # published with 8 x 512, four times the rate, and two epochs to it
        config.batch_size, config.optimizer.learning_rate, config.schedule.warmup_epochs = 4096, 0.4, 2.0
    config.evaluation.update(average_horizontal_flips=True)
    return config


def expected(row: str) -> list[dict]:
    """Lists the figures that were published for a row, as `papers.expect` has them."""
    name, trunk = row.rsplit("_", 1)
    if name == "casia":
        return [papers.expect(protocol, "accuracy_10fold", value, tolerance, selection=(papers.LAST,))
                for protocol, value, tolerance in _CASIA]
    return [papers.expect("ijb_c", f"tar@far={far}", value, _IJB_TOLERANCE, selection=(papers.LAST,))
            for far, value in zip(("0.0001", "1e-05"), _SETS[name][-1][trunk], strict=True)]
