"""Writes rankings.npz and, with --insightface, faces.npz: inputs and what public implementations make of them.

    python -m tests.metrics.goldens.make [--insightface=FOLDER]

With requirements-peers.txt. FOLDER holds eval_ijbc.py and eval/verification.py of github.com/deepinsight/insightface,
recognition/arcface_torch: they are in no package. Without it faces.npz stays as it is.

Where a peer stops with an error, "NAME/error" is its type and message.
"""

import argparse
import pathlib

import numpy as np

from tests.metrics.goldens import FOLDER, faces, rankings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--insightface", type=pathlib.Path)
    folder = parser.parse_args().insightface
    results = {"rankings": rankings.results()} | ({"faces": faces.results(folder)} if folder else {})
    for name, arrays in results.items():
        np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
        print(f"{name}: {len(arrays)} arrays, {(FOLDER / name).with_suffix('.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
