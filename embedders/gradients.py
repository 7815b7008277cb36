"""How the layers are differentiated: by gradients that are written out, or by autodiff.

Gradients that are written out take fewer sweeps over memory, or on CPUs avoid slow convolutions, which is what training
asks for. They know no forward mode: `jax.jvp` refuses them. An evaluation is traced with autodiff, so that it has both.
"""

import contextlib
import contextvars

_written_out = contextvars.ContextVar("written_out", default=True)
_leak = contextvars.ContextVar("leak", default=0.0)


def written_out() -> bool:
    """Whether layers are traced with the gradients that are written out.

    Example:
      >>> from geodesic.embedders import gradients
      >>> gradients.written_out()
      True
    """
    return _written_out.get()


@contextlib.contextmanager
def by_autodiff(wanted: bool = True):
    """A context in which layers are traced with autodiff's own gradients, so that `jax.jvp` can follow them.

    Args:
      wanted: False leaves everything as it is.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic import embedders
      >>> from geodesic.embedders import gradients
      >>> embedder, images = embedders.build("resnet8"), jnp.ones((2, 16, 16, 3))
      >>> variables = embedder.init(jax.random.key(0), images)
      >>> apply = lambda images: embedder.apply(variables, images, train=True, mutable=["batch_stats"])[0]
      >>> with gradients.by_autodiff():   # an evaluation, train=False, needs none
      ...     embeddings, slopes = jax.jvp(apply, (images,), (images,))
      >>> embeddings.shape == slopes.shape
      True
    """
    token = _written_out.set(_written_out.get() and not wanted)
    try:
        yield
    finally:
        _written_out.reset(token)


def leak() -> float:
    """The share of a gradient that a ReLU lets through where it is silent; 0, which is true, but in `leaking`.

    Example:
      >>> from geodesic.embedders import gradients
      >>> gradients.leak()
      0.0
    """
    return _leak.get()


@contextlib.contextmanager
def leaking(share: float):
    """A context in which a ReLU lets a share of the gradient through where it is silent, so that a search which climbs
    it can wake a neuron. What a network gives stays as it is.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders import gradients, layers
      >>> with gradients.leaking(0.25):
      ...     print(jax.grad(lambda x: layers.relu(x).sum())(jnp.array([-1.0, 2.0])))
      [0.25 1.  ]
    """
    token = _leak.set(share)
    try:
        yield
    finally:
        _leak.reset(token)
