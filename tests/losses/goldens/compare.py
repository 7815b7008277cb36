"""Our losses on the golden inputs."""

import functools

import jax
import jax.numpy as jnp

from geodesic import losses
from tests.losses import cases, goldens

CLASSES, SCALE = 7, 16.0


@functools.cache
def arrays(file: str = "margins") -> dict:
    return goldens.load(file)


def check(golden: str, name: str, weights: str | None = "w", state: dict | None = None, labels: str = "labels",
          length: float = 1.0, file: str = "margins", **hyper_parameters) -> dict:
    """Value and gradients of the loss equal the golden ones to 1e-5; returns its state."""
    given = arrays(file)
    loss = losses.build(name, num_classes=CLASSES, **hyper_parameters)
    params = {"prototypes": jnp.asarray(given[weights])} if weights else {}
    if f"{golden}/gradient2" in given:
        params["bias"] = jnp.asarray(given["bias"])
    state = {key: jnp.float32(value) for key, value in (state or {}).items()}

    def value(params, x):
        loss_value, new_state, _ = loss.apply(params, state, x, given[labels], cases.key())
        return loss_value, new_state

    step = cases.jit(jax.value_and_grad(value, argnums=(0, 1), has_aux=True))
    (found, new_state), (params, x) = step(params, given["x"] * jnp.float32(length))
    goldens.assert_close(found, given[f"{golden}/value"])
    goldens.assert_close(x, given[f"{golden}/gradient0"])
    for index, parameter in enumerate(("prototypes", "bias"), start=1):
        if parameter in params:
            goldens.assert_close(params[parameter], given[f"{golden}/gradient{index}"])
    return new_state
