import os
import subprocess
import sys
import types

import pytest

from geodesic.errors import UserError
from geodesic.experiments.process import accelerators
from geodesic.experiments.process import mesh as meshes


def machine(root, *devices, maker=""):
    for name in devices:
        path = root / "dev" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if maker:
        (root / "sys/bus/pci/devices/0000:00:05.0").mkdir(parents=True)
        (root / "sys/bus/pci/devices/0000:00:05.0/vendor").write_text(f"{maker}\n")
    return str(root)


@pytest.mark.parametrize(("devices", "maker", "environ", "kind", "where"), [
    ((), "", {}, "", ""),
    (("null", "nvidiactl", "nvidia-uvm"), "", {}, "", ""),  # a driver without a card
    (("nvidia1", "nvidia0", "nvidiactl"), "", {}, "GPU", "dev/nvidia0"),
    (("nvidia0",), "", {"CUDA_VISIBLE_DEVICES": "0"}, "GPU", "dev/nvidia0"),
    (("nvidia0",), "", {"CUDA_VISIBLE_DEVICES": ""}, "", ""),
    (("nvidia0",), "", {"CUDA_VISIBLE_DEVICES": "-1"}, "", ""),
    (("accel0", "accel1"), "", {}, "TPU", "dev/accel0"),
    (("vfio/vfio", "vfio/0", "vfio/1"), "0x1ae0", {}, "TPU", "dev/vfio/0"),
    (("vfio/vfio", "vfio/12"), "0x10de", {}, "", ""),  # a card of another maker, handed to a virtual machine
    (("vfio/0",), "", {"TPU_WORKER_ID": "0"}, "TPU", "dev/vfio/0"),
    ((), "", {"TPU_WORKER_HOSTNAMES": "a,b"}, "TPU", "TPU_WORKER_HOSTNAMES"),
    ((), "", {"TPU_SKIP_MDS_QUERY": "1"}, "", ""),  # jax sets this one everywhere
    ((), "", {"TPU_WORKER_HOSTNAMES": "WARNING: could not determine TPU worker hostnames"}, "", ""),
])
def test_what_a_machine_has(devices, maker, environ, kind, where, tmp_path):
    found = accelerators.found(machine(tmp_path, *devices, maker=maker), environ)
    assert found == (kind, where if where in environ else str(tmp_path / where) if where else "")


@pytest.fixture
def beside(monkeypatch):
    """A program of `kind`'s machine on which jax has `backend`, with the parts of jax in `installed`."""

    def given(kind, backend="cpu", platforms=None, installed=(), allowed=False):
        monkeypatch.setattr(accelerators, "found", lambda: (kind, kind and f"/dev/{kind}"))
        monkeypatch.setattr(accelerators, "cpu_is_allowed", allowed)
        monkeypatch.setattr(accelerators.importlib.util, "find_spec", lambda name: name in installed)
        monkeypatch.setattr(accelerators, "jax", types.SimpleNamespace(
            __version__="0.10.2", default_backend=lambda: backend,
            config=types.SimpleNamespace(jax_platforms=platforms)))

    return given


@pytest.mark.parametrize(("kind", "installed", "told"), [
    ("GPU", (), f"this machine has a GPU (/dev/GPU), and jax runs on the CPU: jax is installed for CPUs only. Give it "
                f"what it needs with {sys.executable} -m pip install 'jax[cuda12]==0.10.2'; or give --allow_cpu"),
    ("TPU", ("jax_cuda12_plugin",), "-m pip install 'jax[tpu]==0.10.2'; or give --allow_cpu"),
    ("GPU", ("jax_cuda13_plugin",), "but not this one: its warnings stand above, and `nvidia-smi` says whether the"),
    ("TPU", ("libtpu",), "another process may hold it"),
])
def test_the_cpu_beside_an_accelerator_is_refused_before_there_is_a_mesh(beside, kind, installed, told):
    beside(kind, installed=installed)
    with pytest.raises(UserError) as error:
        meshes.make()
    assert told in str(error.value)


@pytest.mark.parametrize("fine", [
    {"kind": ""}, {"kind": "GPU", "backend": "gpu"}, {"kind": "TPU", "backend": "tpu"},
    {"kind": "GPU", "platforms": "cpu"}, {"kind": "GPU", "allowed": True}])
def test_what_is_asked_for_or_works_is_not(beside, fine):
    beside(**fine)
    accelerators.check()


@pytest.mark.parametrize(("given", "told"), [
    (("cpu", "float32", 5), ""), (("gpu", "bfloat16", 16), ""),
    (("tpu", "float32", 16), "--config.embedder.dtype=bfloat16 halves what the trunk keeps and moves"),
    (("gpu", "bfloat16", 12), "12 images at a time: a multiple of 8 fills what multiplies matrices")])
def test_advice_is_for_accelerators(given, told):
    assert accelerators.advice(*given) == told


PROGRAM = """
from geodesic.experiments.process import accelerators, cli
from geodesic.experiments.process import mesh as meshes
accelerators.found = lambda *_: ("GPU", "/dev/nvidia0")
cli.run(lambda config, values: print(meshes.make().size), required=())
"""


@pytest.mark.parametrize(("words", "devices"), [((), ""), (("--allow_cpu",), "1\n"), (("--cpu_devices=2",), "2\n")])
def test_a_program_ends_with_the_command_that_mends_it(words, devices):
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], env=environment | {"CUDA_VISIBLE_DEVICES": "-1"},
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0 if devices else 1, devices)
    assert devices or done.stderr.splitlines()[-1].startswith("error: this machine has a GPU (/dev/nvidia0), and jax ")
