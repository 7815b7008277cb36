"""A recurrent network that reads a map row by row."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from . import layers

# Name -> the cell of flax.linen.
CELLS = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


class Recurrent(nn.Module):
    """A GRU or an LSTM over the rows of a map from top to bottom, of which the last hidden state is taken.

    A row [W,C] is averaged to C numbers, so that a map is a sequence of H of them and the parameters fit images of
    every size. Each of several maps has a network of its own; their states follow one another in the order of the
    layers' names.

    Cho et al.: Learning Phrase Representations using RNN Encoder-Decoder, 2014, arXiv:1406.1078 (GRU). Hochreiter,
    Schmidhuber: Long Short-Term Memory, 1997. Rows of maps as a sequence: Visin et al.: ReNet, 2015, arXiv:1505.00393.

    Attributes:
      cell: one of CELLS.
      hidden_size: of the state.
      bidirectional: whether a second network reads from bottom to top; its state follows the first one's.
      dropout: the share of the states that is dropped.
      size: D of a last dense layer; 0 leaves the states as they are.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from geodesic.heads.recurrent import Recurrent
      >>> features, variables = Recurrent(cell="lstm", hidden_size=8, bidirectional=True).init_with_output(
      ...     jax.random.key(0), {"stage4": jnp.ones((2, 4, 4, 64))})
      >>> features.shape, sorted(variables["params"])
      ((2, 16), ['stage4_down', 'stage4_up'])
    """

    cell: str = "gru"
    hidden_size: int = 256
    bidirectional: bool = False
    dropout: float = 0.0
    size: int = 0

    @nn.compact
    def __call__(self, named: Mapping[str, jnp.ndarray], train: bool = False) -> jnp.ndarray:
        """Features f32[B,D] of layers, name -> map [B,H,W,C]. Raises UserError for a layer that is no map."""
        states = []
        for branch, x in layers.maps(named, "recurrent").items():
            rows = jnp.mean(x, axis=2)
            states.append(self._last_state(rows, f"{branch}_down", reverse=False))
            if self.bidirectional:
                states.append(self._last_state(rows, f"{branch}_up", reverse=True))
        return layers.features(jnp.concatenate(states, axis=-1), self.size, self.dropout, train)

    def _last_state(self, rows: jnp.ndarray, name: str, reverse: bool) -> jnp.ndarray:
        """The hidden state f32[B,hidden_size] after all rows [B,H,C]."""
        cell = CELLS[self.cell](self.hidden_size, name=name)
        # Zeros like the rows vary over devices as the rows do, which a loop wants of its state inside of jax.shard_map.
        zeros = jnp.zeros_like(rows, shape=(rows.shape[0], self.hidden_size))
        state, _ = nn.RNN(cell, return_carry=True, reverse=reverse)(
            rows, initial_carry=(zeros, zeros) if self.cell == "lstm" else zeros)
        return state[1] if self.cell == "lstm" else state
