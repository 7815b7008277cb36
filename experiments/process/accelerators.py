"""The accelerators of this machine. Where jax cannot use one it takes the CPU, with a warning at most: here that is an
error, with the command that mends it.
"""

import glob
import importlib.util
import os
import shlex
import sys
from collections.abc import Mapping

import jax

from geodesic.errors import UserError

# Whether the CPU may be used beside an accelerator. Programs set it to what --allow_cpu says; whoever imports this
# code has chosen a jax by himself.
cpu_is_allowed = True
# What a Cloud TPU's machine, and Kubernetes on it, tell their programs.
_OF_A_TPU = ("TPU_WORKER_HOSTNAMES", "TPU_WORKER_ID", "TPU_ACCELERATOR_TYPE")
_GOOGLE = "0x1ae0"  # its number among the makers of PCI devices
# What jax imports to use each kind, the extra that installs it, and what says more where it is there and does not work.
_NEEDS = {"GPU": (("jax_cuda12_plugin", "jax_cuda13_plugin"), "cuda12", "`nvidia-smi` says whether the driver answers"),
          "TPU": (("libtpu",), "tpu", "another process may hold it: `sudo lsof /dev/accel* /dev/vfio/*` names it")}


def found(root: str = "/", environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """("GPU" or "TPU", where it shows) of this machine's accelerator; ("", "") where there is none, or it is hidden."""
    devices = lambda pattern: sorted(glob.glob(os.path.join(root, "dev", pattern)))
    # libtpu itself writes a warning there, on a machine without one.
    told = [name for name in _OF_A_TPU if name in environ and not environ[name].startswith("WARNING")]
    # Any device that is handed to a virtual machine is a vfio group.
    groups = devices("vfio/[0-9]*") if told or _has_googles_device(root) else []
    if tpu := [*devices("accel[0-9]*"), *devices("accel/accel[0-9]*"), *groups, *told]:
        return "TPU", tpu[0]
    hidden = environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    gpu = [] if hidden else devices("nvidia[0-9]*")
    return ("GPU", gpu[0]) if gpu else ("", "")


def _has_googles_device(root: str) -> bool:
    def maker(path: str) -> str:
        with open(path) as file:
            return file.read().strip()

    return any(maker(path) == _GOOGLE for path in glob.glob(os.path.join(root, "sys/bus/pci/devices/*/vendor")))


def can_use(kind: str) -> bool:
    """Whether the part of jax is installed that works with a "GPU" or "TPU"."""
    return any(importlib.util.find_spec(name) for name in _NEEDS[kind][0])


def check() -> None:
    """Raises UserError where jax runs on the CPU of a machine with an accelerator, and nobody has asked for that."""
    if cpu_is_allowed or jax.config.jax_platforms == "cpu":
        return
    kind, place = found()
    if not kind or jax.default_backend() != "cpu":
        return
    _, extra, hint = _NEEDS[kind]
    mend = f"jax can use a {kind}, but not this one: its warnings stand above, and {hint}"
    if not can_use(kind):
        install = f"{shlex.quote(sys.executable)} -m pip install 'jax[{extra}]=={jax.__version__}'"
        mend = f"jax is installed for CPUs only. Give it what it needs with {install}"
    raise UserError(f"this machine has a {kind} ({place}), and jax runs on the CPU: {mend}; or give --allow_cpu")


def advice(platform: str, dtype: str, images: int) -> str:
    """What a run on an accelerator might do better; "" for nothing, and on a CPU.

    platform: jax's name of it. dtype: of the trunk. images: that go through a device at a time.
    """
    wide = "--config.embedder.dtype=bfloat16 halves what the trunk keeps and moves" if dtype == "float32" else ""
    odd = f"{images} images at a time: a multiple of 8 fills what multiplies matrices" if images % 8 else ""
    return "; ".join(filter(None, [wide, odd])) if platform != "cpu" else ""
