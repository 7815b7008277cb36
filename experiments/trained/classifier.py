"""The trained loss as a classifier: its prototypes, or its weights and bias, are the scores of its classes."""

from typing import NamedTuple

import jax
import numpy as np
from flax import traverse_util

from geodesic import losses
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint, imported

_LOSS = "params/loss/"


class Classifier(NamedTuple):
    """loss: as it was trained. params: what it has learnt, without padding."""

    loss: losses.Loss
    params: dict

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """f32[N,C] of embeddings f32[N,D] that are not normalised: probabilities, or cosines of an angular margin."""
        scores = self.scores(embeddings)
        return scores if self.loss.probabilities is None else np.asarray(self.loss.probabilities(scores))

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """f32[N,C] of embeddings f32[N,D] that are not normalised: how well each fits each class, without margin."""
        return np.asarray(jax.jit(self.loss.scores)(self.params, embeddings))


def load(workdir: str, config, step: int) -> Classifier:
    """Reads the loss's parameters from the checkpoint of this step, and nothing else.

    Raises UserError of imported weights, and where the loss has learnt no classes.
    """
    if imported.exist(workdir):
        raise UserError(f"{workdir} holds imported weights of an embedder, and no classifier")
    with checkpoint.Checkpoints(workdir) as checkpoints:
        arrays, record = checkpoints.read(lambda name: name.startswith(_LOSS), step)
    classes, options = record["num_classes"], config.loss
    # Rows past the classes are padding, as many as the training devices wanted.
    params = traverse_util.unflatten_dict({name.removeprefix(_LOSS): np.asarray(values)[:classes]
                                           for name, values in arrays.items()}, sep="/")
    known = {} if options.name == "combine" else dict(options[options.name])
    loss = None if options.name == "combine" else losses.build(options.name, num_classes=classes, **known)
    if loss is None or loss.scores is None:
        raise UserError(f"loss {options.name!r} has learnt no classes, so nothing classifies: measure retrieval")
    return Classifier(loss, params)
