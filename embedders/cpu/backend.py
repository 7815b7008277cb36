"""The backend that a network is traced for: convolution and pools have other forms for each."""

import contextlib
import contextvars

import jax

_target = contextvars.ContextVar("target", default=None)


def name() -> str:
    """The backend that is traced for: this process's, or inside of `compiling_for` that one.

    Returns:
      "cpu", "gpu" or "tpu".

    Example:
      >>> from geodesic.embedders.cpu import backend
      >>> with backend.compiling_for("cuda"):
      ...     backend.name()
      'gpu'
    """
    return _target.get() or jax.default_backend()


@contextlib.contextmanager
def compiling_for(platform: str):
    """A context in which networks are traced for other devices, which need not be here.

    Args:
      platform: the devices', as `jax.Device.platform` names it: "cpu", "tpu", "gpu", "cuda" or "rocm".

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.embedders.cpu import backend, convolution
      >>> x, kernel = jnp.ones((1, 4, 4, 8)), jnp.ones((3, 3, 2, 8))
      >>> with backend.compiling_for("tpu"):
      ...     jaxpr = jax.make_jaxpr(lambda x: convolution.convolve(x, kernel, strides=1, groups=4))(x)
      >>> "feature_group_count=4" in str(jaxpr)   # XLA's own grouped convolution
      True
    """
    token = _target.set({"cuda": "gpu", "rocm": "gpu"}.get(platform, platform))
    try:
        yield
    finally:
        _target.reset(token)
