"""Runs an exported file on images, in a process that knows nothing of this code: NumPy and the file's own runtime.

    python -I fresh.py MODEL IMAGES.npy OUT.npz BATCH [BATCH ...]

OUT.npz holds the arrays that the model gives for the first BATCH images, as BATCH/0, BATCH/1, ..., and the runtime's
version.
"""

import sys

import numpy as np


def opened(path: str):
    """(function of images that gives a list of arrays, the runtime and its version) of a file."""
    if path.endswith(".onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda images: session.run(None, {name: images}), f"onnxruntime {onnxruntime.__version__}"
    import jax
    from jax import export

    with open(path, "rb") as file:
        model = export.deserialize(bytearray(file.read()))
    return lambda images: jax.tree.leaves(jax.jit(model.call)(images)), f"jax {jax.__version__}"


def main(path: str, images: str, out: str, *batches: str) -> None:
    run, runtime = opened(path)
    pixels = np.load(images)
    given = {f"{batch}/{place}": array for batch in batches for place, array in enumerate(run(pixels[:int(batch)]))}
    if "geodesic" in sys.modules:
        sys.exit("this process should not know geodesic")
    np.savez(out, runtime=runtime, **given)


if __name__ == "__main__":
    main(*sys.argv[1:])
