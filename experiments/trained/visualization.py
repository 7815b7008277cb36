"""Feature visualisation: pictures that make chosen neurons of a layer high, found by climbing the network's gradient.

What they look like is as much the regulariser's doing as the neuron's: without one they are noise to the eye. Here it
is how a picture is written, and that it must do moved: see `REGULARISER`.

Olah, Mordvintsev, Schubert: Feature Visualization, Distill, 2017, doi:10.23915/distill.00007.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from geodesic.embedders import gradients
from geodesic.errors import UserError
from geodesic.experiments.trained import embedding, inputs
from geodesic.experiments.trained.run import Run

STEPS, MOST = 128, 16
_SHIFT, _RATE, _START, _LEAK = 16, 0.05, 0.01, 0.1
REGULARISER = (f"pictures are written in frequencies, each divided by its own, and in the colours of natural images "
               f"without their correlation; each of {STEPS} steps of Adam (rate {_RATE:g}) sees them moved at random "
               f"by up to 1/{_SHIFT} of their side; in the first half of them a silent ReLU lets a tenth of the "
               f"gradient through, which wakes the neuron; there is no other penalty")
# Red, green and blue from three uncorrelated colours of ImageNet's pictures, as of the authors' own code.
_COLORS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], np.float32)
_COLORS = _COLORS / np.linalg.norm(_COLORS, axis=0).max()


def visualize(run: Run, layer: str, neurons: Sequence[int], *, steps: int = STEPS, seed: int = 0,
              progress: Callable[[int], None] = lambda steps: None) -> tuple[np.ndarray, np.ndarray]:
    """A picture for each neuron that makes it as high as the climb can.

    Args:
      run: the model.
      layer: of `run.layers`; maps are averaged over their places, as `geodesic neurons` does.
      neurons: places in the layer, MOST at most.
      steps: of the climb.
      seed: of what it starts from, and of how the pictures are moved.
      progress: told of each step.

    Returns:
      (u8[N,S,S,3] the pictures, f32[N] the neurons' values for them, as `run.features` gives them of any picture).

    Raises UserError for a layer or a neuron that there is not, and for too many.

    Example:
      >>> import jax
      >>> from geodesic.configs import default
      >>> from geodesic.experiments.process import mesh
      >>> from geodesic.experiments.trained import network, visualization
      >>> from geodesic.experiments.trained.run import Run
      >>> config = default.get_config()
      >>> config.input.image_size = 16
      >>> config.embedder.name = "resnet8"
      >>> embedder = network.make_embedder(config.embedder)
      >>> run = Run("", config, mesh.make(jax.devices()[:1]), embedder, network.init_embedder(embedder, 16, 0), 0)
      >>> pictures, values = visualization.visualize(run, "stage1", [5], steps=2)
      >>> pictures.shape, values.shape
      ((1, 16, 16, 3), (1,))
    """
    neurons = check(run, layer, neurons)
    side, rule = run.config.input.image_size, optax.adam(_RATE)
    scale = _frequencies(side)
    step = _make_step(run, layer, neurons, rule, scale)
    begin, *keys = jax.random.split(jax.random.key(seed), 1 + steps)
    # The same start for every neuron: a picture does not depend on which others are asked for.
    spectrum = jnp.broadcast_to(_START * jax.random.normal(begin, (2, *scale.shape, 3)),
                                (len(neurons), 2, *scale.shape, 3))
    state = rule.init(spectrum)
    for place, key in enumerate(keys):
        spectrum, state = step(spectrum, state, run.variables, key, _LEAK if 2 * place < steps else 0.0)
        progress(1)
    pictures = np.asarray(_pictures(spectrum, scale, side)).round().astype(np.uint8)
    values = run.embed_source(inputs.as_source(list(pictures)), layer=layer).embeddings
    return pictures, values[np.arange(len(neurons)), neurons]


def _make_step(run: Run, layer: str, neurons: list[int], rule: optax.GradientTransformation, scale: np.ndarray):
    """jit'ed (spectrum, state of the rule, variables, rng, leak) -> (spectrum, state), a step up for each neuron."""
    side, config = run.config.input.image_size, run.config
    take = embedding.make_embed(run.embedder, None, layer=layer,
                                average_horizontal_flips=config.evaluation.average_horizontal_flips)

    def height(spectrum, variables, shifts):
        images = jax.vmap(lambda image, shift: jnp.roll(image, shift, (0, 1)))(_pictures(spectrum, scale, side), shifts)
        values = take(variables, embedding.normalize(images, config.input))
        return values[jnp.arange(len(neurons)), jnp.asarray(neurons)].sum()

    @functools.partial(jax.jit, static_argnums=4)
    def step(spectrum, state, variables, rng, leak):
        shifts = jax.random.randint(rng, (len(neurons), 2), -(side // _SHIFT), side // _SHIFT + 1)
        with gradients.leaking(leak):
            slopes = jax.grad(height)(spectrum, variables, shifts)
        updates, state = rule.update(jax.tree.map(jnp.negative, slopes), state)
        return optax.apply_updates(spectrum, updates), state

    return step


def check(run: Run, layer: str, neurons: Sequence[int]) -> list[int]:
    """The neurons, each once, in order. Raises UserError as `visualize` does."""
    size, neurons = run.check_layers(layer)[layer][-1], sorted(set(neurons))
    if lost := [one for one in neurons if not 0 <= one < size]:
        raise UserError(f"layer {layer!r} has no neuron {lost[0]}; they are 0 to {size - 1}")
    if not 0 < len(neurons) <= MOST:
        raise UserError(f"1 to {MOST} neurons can be visualised at once; got {len(neurons)}")
    return neurons


def _frequencies(side: int) -> np.ndarray:
    """f32[side,side//2+1]: what each coefficient of a real picture's spectrum is multiplied by."""
    height, width = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    return (1 / np.maximum(np.hypot(height, width), 1 / side)).astype(np.float32)


def _pictures(spectrum: jnp.ndarray, scale: np.ndarray, side: int) -> jnp.ndarray:
    """f32[N,side,side,3], 0 to 255, of spectra f32[N,2,side,side//2+1,3], real and imaginary."""
    values = jax.lax.complex(spectrum[:, 0], spectrum[:, 1]) * scale[..., None]
    colors = jnp.fft.irfft2(values, s=(side, side), axes=(1, 2), norm="ortho")
    return 255 * jax.nn.sigmoid(colors @ _COLORS.T)
