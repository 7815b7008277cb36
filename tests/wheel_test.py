"""The package as people get it: a wheel in a fresh environment, in a folder that is no checkout."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SHRUNK = ("--config=quickstart", "--config.total_steps=3", "--config.input.image_size=32")


def test_every_folder_of_modules_is_a_package_of_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = project["tool"]["setuptools"]["packages"]
    roots = {name.split(".")[1] for name in listed if "." in name}
    there = {"geodesic", *(".".join(("geodesic", *path.parent.relative_to(ROOT).parts))
                           for root in roots for path in (ROOT / root).rglob("__init__.py"))}
    assert sorted(there) == listed
    data = {path for root in roots for path in (ROOT / root).rglob("*") if path.suffix in (".html", ".tsv", ".txt")}
    assert {pattern_of(path) for path in data} == {
        (package, pattern) for package, patterns in project["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns}


def pattern_of(path: pathlib.Path) -> tuple[str, str]:
    """(the package that a file of data is in or below, the pattern that names it from there)."""
    package = next(folder for folder in path.parents if (folder / "__init__.py").exists())
    return (".".join(("geodesic", *package.relative_to(ROOT).parts)),
            str(path.relative_to(package).with_name(f"*{path.suffix}")))


def pins(name: str) -> list:
    from packaging.requirements import Requirement

    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def test_pins_lie_within_the_ranges():
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, wanted in {"": project["dependencies"], **project["optional-dependencies"]}.items():
        own = f"requirements-{extra}.txt"  # of an accelerator; what else is optional is there for the tests
        files = [own] if (ROOT / own).exists() else ["requirements.txt", *(["requirements-dev.txt"] if extra else [])]
        known = [pin for file in files for pin in pins(file)]
        for requirement in map(Requirement, wanted):
            mine = [pin for pin in known if pin.name.lower() == requirement.name.lower()
                    and pin.extras == requirement.extras]
            assert mine, f"{requirement} has no pin in {files}"
            for pin in mine:
                (version,) = (specifier.version for specifier in pin.specifier)
                assert requirement.specifier.contains(version), f"{pin} is not within {requirement}"


@pytest.mark.parametrize("accelerator", ["cuda12", "cuda13", "tpu"])
def test_the_parts_for_an_accelerator_have_the_pins_of_their_jax(accelerator):
    jax = {(str(pin.specifier), str(pin.marker)) for pin in pins("requirements.txt") if pin.name == "jax"}
    file = f"requirements-{accelerator}.txt"
    assert (ROOT / file).read_text().count("-r requirements.txt") == 1 and len(jax) == 2
    of = {}
    for pin in pins(file):
        of.setdefault(pin.name, set()).add((str(pin.specifier), str(pin.marker)))
    assert of.pop("jax") == jax
    for name, versions in of.items():  # libtpu has numbers of its own
        assert {marker for _, marker in versions} == {marker for _, marker in jax}
        assert name == "libtpu" or versions == jax


@pytest.mark.parametrize(("words", "told"), [
    (("ACCELERATOR=cuda12",), "-r requirements-cuda12.txt -e ."), ((), "-r requirements.txt -e ."),
    (("ACCELERATOR=cuda11",), "ACCELERATOR=cuda11: expected cuda12, cuda13, tpu")])
def test_make_takes_the_pins_of_an_accelerator(words, told, tmp_path):
    done = subprocess.run(["make", "--dry-run", "quickstart", f"VENV={tmp_path}", *words], cwd=ROOT,
                          capture_output=True, text=True)
    assert told in done.stdout + done.stderr and (done.returncode == 0) == ("-r" in told)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(commands of a fresh environment, a folder outside of the checkout). Its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy: setuptools leaves a build folder behind, whose old modules would be in the next wheel.
    left_out = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "results")
    shutil.copytree(ROOT, folder / "source", ignore=left_out)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
                    "--wheel-dir", folder, folder / "source"], check=True)
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    packages = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True,
                              capture_output=True, text=True).stdout.strip()
    # A path file is not read again below itself, so that what is installed there as editable is not here.
    pathlib.Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = folder.glob("*.whl")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    (folder / "elsewhere").mkdir()
    return folder / "env" / "bin", folder / "elsewhere"


def run(installed, *words, status=0) -> str:
    commands, folder = installed
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [commands / words[0], *words[1:]]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_programs_run_there(installed):
    _, folder = installed
    assert str(folder.parent / "env") in run(installed, "python", "-c", "import geodesic; print(geodesic.__file__)")
    assert "train" in run(installed, "geodesic", "--help")
    assert "step 3/3" in run(installed, "geodesic", "train", *SHRUNK, "--workdir", "w")
    assert "never trained on" in run(installed, "geodesic", "evaluate", "--workdir=w")
    faces = run(installed, "python", "-c", "from geodesic import datasets; "
                "print(*datasets.build('orl_faces', classes=(38, 40)).paths)").split()
    (folder / "photos").mkdir()
    for place, path in enumerate(faces):
        (folder / "photos" / f"{place:02}.pgm").write_bytes(pathlib.Path(path).read_bytes())
    assert "20 embeddings" in run(installed, "geodesic", "embed", "--workdir=w", "--images=photos", "--out=e.parquet")
    assert "nearest by cosine" in run(installed, "geodesic", "search", "--workdir=w", "--embeddings=e.parquet",
                                      "--query=photos/00.pgm")
    run(installed, "geodesic", "calibrate", "--workdir=w", "--far=0.05", "--source=image_folder", "--data=photos",
        "--other_identities", status=1)  # one class only: no two identities
    line = run(installed, "geodesic", "verify", "--workdir=w", "photos/00.pgm", "photos/01.pgm", status=2)
    assert "has no threshold: set one with `geodesic calibrate" in line
    assert "report in" in run(installed, "geodesic", "report", "--workdir=w")
    line = run(installed, "python", "-m", "geodesic.experiments.evaluate", "--workdir", "x", status=1)
    assert "error: no run in" in line


@pytest.mark.slow
def test_the_lines_of_the_python_page_run_there_beside_another_package_called_datasets(installed):
    _, folder = installed
    other = folder / "beside"
    (other / "datasets").mkdir(parents=True)
    (other / "datasets" / "__init__.py").write_text("def load_dataset(): return 'somebody else'\n")
    text = (ROOT / "docs" / "python.md").read_text()
    lines = [line[4:] for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]
             for line in block.splitlines() if line.startswith(">>> ")]
    program = ["import datasets", *lines, "import datasets as again", "from geodesic import datasets as ours",
               "assert again.load_dataset() == 'somebody else' and ours.build", "print(vectors.shape)"]
    (other / "lines.py").write_text("\n".join(program))
    assert "(100, 512)" in run((installed[0], other), "python", "lines.py")
