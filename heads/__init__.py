"""Heads: the layers that a task trains on top of a trunk. Flax Linen modules, from named layers to features.

    head = heads.build("mlp", hidden_sizes=(512,))
    variables = head.init(rng, {"stage3": maps, "stage4": others})       # f32[B,H,W,C], or vectors f32[B,C]
    features = head.apply(variables, {"stage3": maps, "stage4": others}) # f32[B,D]

A head has no classes: these belong to the loss, which splits them over devices, so that every loss can sit on every
head. `Classifier` is for using a classifier that is there already. A head of one's own is a file here, and a line in
HEADS.
"""

import dataclasses

from flax import linen as nn

from ..errors import UserError
from . import layers, recurrent
from .attention_pool import AttentionPool
from .classifier import Classifier as Classifier
from .conv import Conv
from .linear import Linear
from .mlp import MLP
from .recurrent import Recurrent

# Name -> class.
HEADS = {
    "linear": Linear,
    "mlp": MLP,
    "conv": Conv,
    "recurrent": Recurrent,
    "attention_pool": AttentionPool,
}

# What `build` checks of fields: their choices; `dropout` is a share, and all other numbers count something.
_CHOICES = {"activation": tuple(layers.ACTIVATIONS), "cell": tuple(recurrent.CELLS)}


def build(name: str, **fields) -> nn.Module:
    """The named head.

    Args:
      name: of HEADS.
      **fields: fields of its class in place of their defaults.

    Returns:
      A Flax module: `apply(variables, layers, train)`, where layers are name -> map f32[B,H,W,C] or vector f32[B,C],
      gives features f32[B,D]. Its parameters and what it computes are float32.

    Raises:
      UserError: a name, field or value is unknown.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import heads
      >>> head = heads.build("linear", size=10)
      >>> features, _ = head.init_with_output(jax.random.key(0), {"stage4": jnp.ones((2, 7, 7, 64))})
      >>> features.shape
      (2, 10)
    """
    if name not in HEADS:
        raise UserError(f"unknown head {name!r}; known: {', '.join(HEADS)}")
    known = [field.name for field in dataclasses.fields(HEADS[name]) if field.name not in ("parent", "name")]
    for key, value in fields.items():
        if key not in known:
            raise UserError(f"head {name!r} has no field {key!r}; it has {', '.join(known)}")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise UserError(f"head {name!r}: {key} is one of {', '.join(_CHOICES[key])}; got {value!r}")
        if key == "dropout" and not 0 <= value < 1:
            raise UserError(f"head {name!r}: dropout is a share, 0 <= dropout < 1; got {value!r}")
        if key not in (*_CHOICES, "dropout", "bidirectional") and not _counts(key, value):
            raise UserError(f"head {name!r}: {key} is {'0 or more' if key == 'size' else '1 or more'}; got {value!r}")
    return HEADS[name](**fields)


def _counts(key: str, value) -> bool:
    """Whether these are numbers that something can have: of a size, 0 is none."""
    values = value if isinstance(value, tuple) else (value,)
    return bool(values) and all(isinstance(one, int) and one >= (0 if key == "size" else 1) for one in values)
