"""What the documents say, run."""

import doctest
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import nbclient
import nbformat
import numpy as np
import pytest

import geodesic
from geodesic.configs import quickstart
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import network

ROOT = pathlib.Path(__file__).parents[1]
# Training and evaluation print much: "..." stands for any of it, and for nothing.
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(path: pathlib.Path) -> str:
    """The Python of a page, each block at the line where it stands."""
    lines, inside = [], False
    for line in path.read_text().splitlines():
        fence = line.startswith("```")
        lines.append("" if fence or not inside else line)
        inside = line.startswith("```python") if fence else inside
    return "\n".join(lines) + "\n"


def test_every_line_of_the_python_page(tmp_path, monkeypatch):
    page = ROOT / "docs" / "python.md"
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(blocks(page), {}, page.name, str(page), 0)
    assert len(test.examples) > 25
    output = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(test, out=output.append)
    assert runner.failures == 0, "".join(output)


def test_every_block_of_the_python_page_is_of_python():
    text = (ROOT / "docs" / "python.md").read_text()
    assert text.count("```python") == len(re.findall(r"^```$", text, re.MULTILINE))


@pytest.mark.slow
def test_the_tour_runs_and_shows_its_pictures(tmp_path):
    tour = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    nbformat.validate(tour)
    expected = [[kind for output in cell.get("outputs", []) for kind in output.get("data", {}) if kind == "image/png"]
                for cell in tour.cells]
    assert sum(map(len, expected)) == 5, "run it with its pictures: jupyter nbconvert --execute --inplace"
    nbclient.NotebookClient(tour, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    found = [[kind for output in cell.get("outputs", []) for kind in output.get("data", {}) if kind == "image/png"]
             for cell in tour.cells]
    assert found == expected


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(a run that is not trained, the folder in which `exported` holds its files)."""
    folder, config = tmp_path_factory.mktemp("export"), quickstart.get_config()
    embedder = network.make_embedder(config.embedder, config.head)
    variables = jax.jit(lambda: network.init_embedder(embedder, config.input.image_size, seed=0))()
    imported.save(str(folder / "run"), config, variables, {})
    run = geodesic.load(folder / "run")
    run.export(folder / "exported", ("onnx", "stablehlo"))
    return run, folder


@pytest.mark.slow
def test_every_line_of_the_export_page(exported, monkeypatch):
    page = ROOT / "docs" / "export.md"
    monkeypatch.chdir(exported[1])
    test = doctest.DocTestParser().get_doctest(blocks(page), {}, page.name, str(page), 0)
    assert len(test.examples) > 12
    output, runner = [], doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(test, out=output.append)
    assert runner.failures == 0, "".join(output)


@pytest.mark.slow
def test_the_loader_in_the_record_reads_the_file_with_jax_alone(exported):
    record = json.loads((exported[1] / "exported" / "model.json").read_text())
    program = "\n".join(record["files"]["model.stablehlo"]["loader"])
    done = subprocess.run([sys.executable, "-I", "-c", program], cwd=exported[1] / "exported",
                          capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 512)"


@pytest.mark.slow
def test_the_node_program_embeds_the_same_picture(exported, tmp_path):
    if not shutil.which("node") or subprocess.run(["node", "-e", "require('onnxruntime-node')"],
                                                  capture_output=True, check=False).returncode:
        pytest.skip("there is no node with onnxruntime-node: npm install it, and set NODE_PATH to its node_modules")
    run, folder = exported
    (program,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    (tmp_path / "embed.cjs").write_text(program)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (tmp_path / "picture.ppm").write_bytes(b"P6\n64 64\n255\n" + pixels.tobytes())
    done = subprocess.run(["node", "embed.cjs", folder / "exported" / "model.onnx", "picture.ppm"], cwd=tmp_path,
                          capture_output=True, text=True, check=True, env={**os.environ})
    vector, expected = np.array(json.loads(done.stdout)), run.embed(pixels)[0].astype(np.float64)
    assert 1 - vector @ expected / np.linalg.norm(vector) / np.linalg.norm(expected) < 1e-9
