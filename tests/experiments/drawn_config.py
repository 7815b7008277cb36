"""A detector's run of seconds: --config=tests/experiments/drawn_config.py:FOLDER, which `drawn.data` has made."""

from tests.experiments import drawn


def get_config(folder: str):
    return drawn.config(folder, total_steps=24, embedder__batch_norm="synchronised", box_augment__horizontal_flip=0.5,
                        box_augment__scale=(0.8, 1.2), box_augment__mosaic=0.3, evaluation__every_epochs=2.0,
                        evaluation__batch_size=8, run__checkpoint_every_steps=3, run__log_every_steps=2,
                        detection__smallest_score=0.01)
