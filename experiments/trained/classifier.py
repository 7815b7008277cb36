"""The trained loss as a classifier: its prototypes, or its weights and bias, are the scores of its classes.

The classifier that imported weights bring along is one of a softmax.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from geodesic import losses
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint, imported
from geodesic.experiments.trained import average

_LOSS = "params/loss/"
# Numbers of one block of scores: a million classes of many images are never held at once.
_BLOCK = 2**24


class Predicted(NamedTuple):
    """Row i is image i of a source: its k likeliest classes i[N,k], the likeliest first, and their probabilities
    f32[N,k]. Where `readable` is False the row is zero, and `problems` has a line for it."""

    classes: np.ndarray
    probabilities: np.ndarray
    readable: np.ndarray
    problems: list[str]


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

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        """f32[N,C] of embeddings f32[N,D] that are not normalised: a softmax of them gives probabilities."""
        return self.loss.scale * self.scores(embeddings)

    def top(self, embeddings: np.ndarray, k: int, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
        """(the k likeliest classes of each embedding i[N,k], their probabilities f32[N,k]), the likeliest first.

        temperature: the logits are divided by it; 1 where none was fitted.
        """
        count, classes, sure = self.rows_at_a_time, [], []
        k = min(k, self.num_classes)

        @jax.jit
        def best(params, rows):
            logits = self.loss.scale * self.loss.scores(params, rows) / temperature
            values, found = jax.lax.top_k(logits, k)
            if self.loss.multi_hot:
                return found, jax.nn.sigmoid(values)
            return found, jnp.exp(values - jax.nn.logsumexp(logits, axis=1, keepdims=True))

        for start in range(0, len(embeddings), count):
            found, probabilities = best(self.params, embeddings[start:start + count])
            classes.append(np.asarray(found))
            sure.append(np.asarray(probabilities))
        return (np.concatenate(classes), np.concatenate(sure)) if classes else (
            np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))

    @property
    def num_classes(self) -> int:
        return len(self.params["prototypes"])

    @property
    def rows_at_a_time(self) -> int:
        """Embeddings whose scores fill a block."""
        return max(_BLOCK // self.num_classes, 1)

    @property
    def digest(self) -> str:
        """16 hex digits that name what the loss has learnt."""
        return checkpoint.digest(self.params)

    def describe(self) -> str:
        """Where its probabilities come from, in a few words."""
        if self.loss.multi_hot:
            return "a sigmoid for each class: they need not sum to 1"
        if self.loss.probabilities is not None:
            return "a softmax of the classifier's logits"
        return f"a softmax of the cosines to the classes times {self.loss.scale:g}, as in the loss, without its margin"


def load(workdir: str, config, step: int) -> Classifier:
    """Reads the loss's parameters from the checkpoint of this step, and nothing else; or those of imported weights.

    Raises UserError of imported weights that brought no classifier, and where the loss has learnt no classes.
    """
    if imported.exist(workdir):
        head = imported.load_head(workdir)
        if head is None:
            raise UserError(f"{workdir} holds imported weights of an embedder, and no classifier; if they bring one, "
                            f"import them again")
        return Classifier(losses.build("softmax", num_classes=len(head.bias)),
                          {"prototypes": np.ascontiguousarray(head.kernel.T), "bias": head.bias})
    loss_at = average.place(config) + _LOSS
    with checkpoint.Checkpoints(workdir) as checkpoints:
        arrays, record = checkpoints.read(lambda name: name.startswith(loss_at), step)
    classes, options = record["num_classes"], config.loss
    # Rows past the classes are padding, as many as the training devices wanted.
    params = traverse_util.unflatten_dict({name.removeprefix(loss_at): np.asarray(values)[:classes]
                                           for name, values in arrays.items()}, sep="/")
    known = {} if options.name == "combine" else dict(options[options.name])
    loss = None if options.name == "combine" else losses.build(options.name, num_classes=classes, **known)
    if loss is None or loss.scores is None:
        raise UserError(f"loss {options.name!r} has learnt no classes, so nothing classifies: measure retrieval")
    return Classifier(loss, params)
