"""A run of seconds: --config=tests/faults/tiny_config.py:FOLDER_OF_IMAGES."""

from tests.experiments import tiny


def get_config(folder: str):
    config = tiny.config(folder, total_steps=24, embedder__dropout=0.2, evaluation__every_epochs=2.0,
                         run__checkpoint_every_steps=3, run__log_every_steps=2)
    config.optimizer.learning_rate = 1e-2
    return config
