"""The program: its flags, what it prints, and its exit status."""

import subprocess
import sys

import pytest

from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import network
from tests.experiments import tiny


@pytest.mark.slow
def test_the_program_writes_and_refuses(tmp_path):
    faces = tiny.faces(tmp_path / "faces", 4, 4)
    config = tiny.config(faces, embedder__name="resnet18", input__image_size=32)
    embedder = network.make_embedder(config.embedder, config.head)
    imported.save(str(tmp_path / "run"), config, network.init_embedder(embedder, 32, seed=0), {})

    def export(*options):
        return subprocess.run([sys.executable, "-m", "geodesic", "export", f"--workdir={tmp_path / 'run'}", *options],
                              capture_output=True, text=True, check=False)

    out = tmp_path / "out"
    done = export(f"--out={out}", "--formats=onnx,safetensors", "--layer=stage4", f"--images={faces}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("model.onnx: ") and "on 16 pictures: greatest relative difference" in lines[0]
    assert lines[1].startswith("model.safetensors: ") and "in the layout of torchvision" in lines[1]
    assert lines[2] == f"written to {out}: uint8 ['batch', 32, 32, 3] -> embedding ['batch', 512] of stage4"
    done = export(f"--out={out}")
    assert done.returncode == 1 and done.stderr.strip() == f"error: {out} is not empty: choose another --out"
    done = export(f"--out={tmp_path / 'other'}", "--output=scores")
    assert done.returncode == 1 and "no classifier" in done.stderr and not (tmp_path / "other").exists()
