"""Writes rankings.npz, faces.npz and cameras.npz: inputs, and what public implementations make of them.

    python -m tests.metrics.goldens.make [--insightface=FOLDER] [--torchreid=FILE]

With requirements-peers.txt. FOLDER holds eval_ijbc.py and eval/verification.py of github.com/deepinsight/insightface,
recognition/arcface_torch: they are in no package. FILE is torchreid/reid/metrics/rank.py of torchreid's source on PyPI.
Without them faces.npz and cameras.npz stay as they are.

Where a peer stops with an error, "NAME/error" is its type and message.
"""

import argparse
import pathlib

import numpy as np

from tests.metrics.goldens import FOLDER, cameras, faces, rankings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--insightface", type=pathlib.Path)
    parser.add_argument("--torchreid", type=pathlib.Path)
    given = parser.parse_args()
    results = {"rankings": rankings.results()}
    if given.insightface:
        results["faces"] = faces.results(given.insightface)
    if given.torchreid:
        results["cameras"] = cameras.results(given.torchreid)
    for name, arrays in results.items():
        np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
        print(f"{name}: {len(arrays)} arrays, {(FOLDER / name).with_suffix('.npz').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
