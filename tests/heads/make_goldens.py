"""Writes goldens/torch.npz: what PyTorch's own layers give for a seeded map, in float64, with their weights.

    pip install torch==2.13.0
    python -m tests.heads.make_goldens
"""

import pathlib

import numpy as np
import torch
from torch import nn

FILE = pathlib.Path(__file__).parent / "goldens" / "torch.npz"
HIDDEN, HEADS, WIDTH, QUERIES, CHANNELS = 5, 2, 8, 3, (7, 4)


def main() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 5, 4, 6, dtype=torch.float64)  # [B,H,W,C]
    found = {"maps": maps}
    for name, kind in (("gru", nn.GRU), ("lstm", nn.LSTM)):
        network = kind(6, HIDDEN, batch_first=True, bidirectional=True).double()
        state = network(maps.mean(2))[1]
        state = state[0] if name == "lstm" else state  # [2,B,HIDDEN], downwards and upwards
        found |= kept(name, network) | {f"{name}/features": torch.cat((state[0], state[1]), -1)}
    attention = nn.MultiheadAttention(WIDTH, HEADS, kdim=6, vdim=6, batch_first=True).double()
    nn.init.normal_(attention.in_proj_bias)  # which would be 0
    nn.init.normal_(attention.out_proj.bias)
    queries, places = torch.randn(QUERIES, WIDTH, dtype=torch.float64), maps.reshape(3, -1, 6)
    given, _ = attention(queries.expand(3, -1, -1), places, places)
    found |= kept("attention_pool", attention) | {"attention_pool/queries": queries,
                                                  "attention_pool/features": given.reshape(3, -1)}
    layers = nn.Sequential(nn.Conv2d(6, CHANNELS[0], 3, padding=1), nn.ReLU(),
                           nn.Conv2d(*CHANNELS, 3, padding=1), nn.ReLU()).double()
    found |= kept("conv", layers) | {"conv/features": layers(maps.permute(0, 3, 1, 2)).mean((2, 3))}
    layers = nn.Sequential(nn.Linear(6, 7), nn.GELU(approximate="tanh"), nn.Linear(7, 4),
                           nn.GELU(approximate="tanh"), nn.Linear(4, 2)).double()
    found |= kept("mlp", layers) | {"mlp/features": layers(maps.mean((1, 2)))}
    np.savez_compressed(FILE, **{name: value.detach().numpy() for name, value in found.items()})


def kept(name: str, network: nn.Module) -> dict:
    return {f"{name}/{key}": value for key, value in network.state_dict().items()}


if __name__ == "__main__":
    main()
