"""A bfloat16 trunk against a float32 one with the same weights and photographs: the cosine of their embeddings.

    python -m benchmarks.bfloat16_cosine --workdir=weights/keras --images=grocery/val [--config.input.image_size=160]

Embeds the folder twice with `geodesic embed`; what else is given goes to it.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from geodesic.experiments.trained import embedding_file

ROOT = pathlib.Path(__file__).parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        single, half = (embed(dtype, f"{folder}/{dtype}.parquet") for dtype in ("float32", "bfloat16"))
    assert single.paths == half.paths
    cosines = np.sum(single.embeddings * half.embeddings, axis=1)
    print(f"cosine of bfloat16 to float32 over {len(cosines)} images: least {cosines.min():.5f}, median "
          f"{np.median(cosines):.5f}; cosine between neighbouring images in float32, for comparison: median "
          f"{np.median(np.sum(single.embeddings[1:] * single.embeddings[:-1], axis=1)):.3f}")


def embed(dtype: str, path: str) -> embedding_file.Embeddings:
    subprocess.run([sys.executable, "-m", "geodesic.experiments.embed", *sys.argv[1:], 
                    f"--config.embedder.dtype={dtype}", f"--out={path}"], cwd=ROOT, check=True)
    return embedding_file.read(path)


if __name__ == "__main__":
    main()
