"""The examples in docstrings run, and parts that are held to it have one for each public function."""

import doctest
import importlib
import inspect
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PARTS = ("configs", "datasets", "embedders", "heads", "losses", "metrics")
# Parts of which every public function has an example.
HELD = ("embedders", "heads", "losses", "metrics")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def names(parts) -> list[str]:
    """The modules of these parts, and what the package itself holds."""
    files = [path for part in parts for path in sorted((ROOT / part).rglob("*.py"))]
    return [".".join(("geodesic", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
            for path in files]


def text(name: str) -> str:
    path = ROOT.joinpath(*name.split(".")[1:])
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


# By their text: importing all modules is for the tests, not for collecting them.
WITH_EXAMPLES = [name for name in ("geodesic.errors", *names(PARTS)) if ">>> " in text(name)]


def examples(name: str) -> list[doctest.DocTest]:
    return doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name):
    found = [test for test in examples(name) if test.examples]
    assert found, f"{name} has examples that doctest does not find"
    runner, said = doctest.DocTestRunner(optionflags=OPTIONS), []
    for test in found:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", names(HELD))
def test_every_public_function_has_an_example(name):
    module = importlib.import_module(name)
    shown = {test.name.removeprefix(f"{name}.") for test in examples(name) if test.examples}
    public = {key for key, value in vars(module).items()
              if not key.startswith("_") and inspect.isfunction(inspect.unwrap(value)) and value.__module__ == name}
    assert not public - shown
