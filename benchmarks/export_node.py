"""The JavaScript consumer of docs/export.md beside the run whose file it runs: cosines of the same pictures.

    geodesic export --workdir=runs/quickstart --out=exported --formats=onnx,int8
    npm install onnxruntime-node
    python -m benchmarks.export_node --workdir=runs/quickstart --exported=exported [--pictures=5]

The pictures are of the run's test data, one of so many parts of it. node must find the package: beside this command, or
by NODE_PATH. Exits with status 1 where 1 - cosine of a float32 file is above 1e-6.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

import geodesic
from benchmarks import turns
from geodesic import datasets
from geodesic.datasets import transforms

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "export.md"
FILES, MOST = ("model.onnx", "model.int8.onnx"), 1e-6


def node(*words: str, **options) -> str:
    """What node prints. Ends the program with a line where it cannot run, or has not the package."""
    if shutil.which("node") is None:
        sys.exit("error: there is no node")
    found = os.environ | {"NODE_PATH": os.pathsep.join(
        filter(None, (os.environ.get("NODE_PATH"), os.path.join(os.getcwd(), "node_modules"))))}
    done = subprocess.run(["node", *words], capture_output=True, text=True, check=False, env=found, **options)
    if done.returncode:
        sys.exit("error: " + next((line for line in done.stderr.splitlines() if "Error" in line), done.stderr[-300:]))
    return done.stdout


def program() -> str:
    """The block of the page."""
    (found,) = re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return found


def main() -> None:
    asked = turns.options(__doc__, workdir="runs/quickstart", exported="exported", pictures=5)
    versions = node("-p", "process.version + ', onnxruntime-node ' + require('onnxruntime-node/package.json').version")
    run, worst = geodesic.load(asked.workdir), {}
    source, options = datasets.build(**run.config.test_data), run.config.input
    places = np.linspace(0, len(source) - 1, asked.pictures).astype(int)
    pixels = [transforms.eval_view(source[int(place)], options) for place in places]
    wanted, begun = run.embed(pixels).astype(np.float64), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "embed.cjs").write_text(program())
        for name in FILES:
            path = os.path.abspath(os.path.join(asked.exported, name))
            if not os.path.exists(path):
                continue
            for picture, own in zip(pixels, wanted, strict=True):
                header = f"P6\n{options.image_size} {options.image_size}\n255\n".encode()
                pathlib.Path(folder, "picture.ppm").write_bytes(header + picture.tobytes())
                row = np.array(json.loads(node(os.path.join(folder, "embed.cjs"), path, f"{folder}/picture.ppm")))
                worst[name] = max(worst.get(name, -1.0), 1 - row @ own / np.linalg.norm(row) / np.linalg.norm(own))
    if not worst:
        sys.exit(f"error: {asked.exported} has none of {', '.join(FILES)}")
    for name, apart in worst.items():
        print(f"{name}: 1 - cosine to run.embed {apart:.1e} at most of {len(pixels)} pictures")
    each = (time.perf_counter() - begun) / len(pixels) / len(worst)
    print(f"node {versions.strip()}; {each:.2f} s a picture, each in a process of its own")
    sys.exit(int(worst.get("model.onnx", 0.0) > MOST))


if __name__ == "__main__":
    main()
