"""The backend that a network is traced for: convolution and pools have forms of their own for each."""

import contextlib
import contextvars

import jax

_target = contextvars.ContextVar("target", default=None)


def name() -> str:
    """"cpu", "gpu" or "tpu": this process's, or the one of `compiling_for`."""
    return _target.get() or jax.default_backend()


@contextlib.contextmanager
def compiling_for(platform: str):
    """What is traced inside is for devices of this platform (jax.Device.platform), which need not be here."""
    token = _target.set({"cuda": "gpu", "rocm": "gpu"}.get(platform, platform))
    try:
        yield
    finally:
        _target.reset(token)
