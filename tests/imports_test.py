"""Importing this code changes nothing else in a process: what a program sets up, it sets up when it starts."""

import ast
import pathlib
import subprocess
import sys

import geodesic

ROOT = pathlib.Path(geodesic.__file__).parent
PARTS = ("configs", "datasets", "embedders", "experiments", "heads", "losses", "metrics")
MODULES = sorted(".".join(["geodesic", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
                 for part in PARTS for path in (ROOT / part).rglob("*.py"))
# What a module might change for everybody else. All is looked at before and after.
LOOK = """
import importlib, logging, os, signal, sys
import absl.logging, cv2, jax, matplotlib, PIL.Image
from absl import flags

def state():
    libraries = [name for name in flags.FLAGS.flags_by_module_dict() if not name.startswith("geodesic")]
    return {
        "matplotlib": dict(matplotlib.rcParams), "pyplot": "matplotlib.pyplot" in sys.modules,
        "flags of ours": [name for name in flags.FLAGS if flags.FLAGS.find_module_defining_flag(name) not in libraries],
        "absl's verbosity": absl.logging.get_verbosity(),
        "levels and filters of logs": [(name, logging.getLogger(name).level, list(logging.getLogger(name).filters))
                                       for name in ("", "asyncio", "absl", "jax")],
        "torch, tensorflow": [name for name in ("torch", "tensorflow") if name in sys.modules],
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "environment": dict(os.environ), "stdout": (sys.stdout, sys.stderr), "threads of cv2": cv2.getNumThreads(),
        "pixels of PIL": PIL.Image.MAX_IMAGE_PIXELS, "jax": {name: value for name, value in jax.config.values.items()},
        "backend of jax": jax._src.xla_bridge.backends_are_initialized(),
    }
"""
CHANGES = """
before, modules = state(), {modules}
for start in range(0, len(modules), 120):  # a look takes as long as many imports
    some = modules[start:start + 120]
    for name in some:
        importlib.import_module(name)
    after = state()
    for what in before:
        assert before[what] == after[what], (some, what, before[what], after[what])
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False,
                          cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr[-3000:]


def libraries() -> list[str]:
    """All modules of others that this code imports, wherever it does."""
    names = set()
    for part in PARTS:
        for path in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names.add(node.module)
    return sorted(name for name in names if name.partition(".")[0] not in ("geodesic", "tests"))


def test_importing_geodesic_takes_no_jax():
    run("import sys, geodesic; assert 'jax' not in sys.modules and 'absl' not in sys.modules, sorted(sys.modules)")


def test_importing_every_module_changes_nothing():
    """What the libraries do when they are imported, they do before the first look."""
    modules = "\n".join(f"try: import {name}\nexcept ImportError: pass" for name in libraries())
    assert "geodesic.experiments.process.cli" in MODULES and len(MODULES) > 100
    run(f"{LOOK}\n{modules}\n{CHANGES.format(modules=MODULES)}")


SEEN = [
    ("matplotlib.rcParams['font.size'] = 30", "matplotlib"), ("cv2.setNumThreads(3)", "threads of cv2"),
    ("flags.DEFINE_bool('x', True, '', module_name='geodesic.x')", "flags of ours"),
    ("absl.logging.set_verbosity(absl.logging.FATAL)", "absl's verbosity"),
    ("logging.getLogger('asyncio').setLevel(50)", "levels and filters of logs"),
    ("signal.signal(signal.SIGTERM, lambda *_: None)", "signals"), ("os.environ['X'] = '1'", "environment"),
    ("sys.modules['torch'] = None", "torch, tensorflow"), ("jax.config.update('jax_enable_x64', True)", "jax"),
    ("jax.devices()", "backend of jax"),
]


def test_the_look_sees_what_it_should():
    """Each change in turn, in one process."""
    changes = "\n".join(f"before = state()\n{change}\nafter = state()\n"
                        f"assert {what!r} in [what for what in before if before[what] != after[what]], {change!r}"
                        for change, what in SEEN)
    run(f"{LOOK}\ncv2.setNumThreads(1)\n{changes}")
