"""The configuration that a run wrote into its workdir: `--config=configs/stored.py:WORKDIR/config.json`."""

import json

import ml_collections

from geodesic.configs import default
from geodesic.errors import UserError


def _fill(config: ml_collections.ConfigDict, values: dict) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            _fill(config[key], value)
        else:
            # JSON has no tuples, and a locked config refuses a list in a tuple's place.
            config[key] = tuple(value) if isinstance(value, list) else value


def get_config(path: str) -> ml_collections.ConfigDict:
    with open(path) as file:
        values = json.load(file)
    config = default.get_config()
    try:
        _fill(config, values)
    except (KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{path} was written by another version of this code: {error}") from error
    return config
