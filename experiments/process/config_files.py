"""Files of configurations and of sweeps: how they are found, by path or by name, and how they are run."""

import difflib
import importlib.machinery
import importlib.util
import os
import pathlib
import traceback

from geodesic.errors import UserError

_PACKAGE = pathlib.Path(__file__).parents[2]
# The function that a file has -> what such a file is called, and the folder of those that come with this code.
_KINDS = {"get_config": ("configuration", "configs"), "get_sweep": ("sweep", "configs/sweeps")}


def find(name: str, function: str) -> str:
    """The path of a file with this function, "get_config" or "get_sweep".

    name: the path of a file that exists, or the name of one that comes with this code, without its folder and its
    suffix: "quickstart" is configs/quickstart.py, "templates/resnext" is configs/templates/resnext.py, and the sweep
    "margins" is configs/sweeps/margins.py. Raises UserError, with the nearest names, for any other.
    """
    kind, folder = _KINDS[function]
    shipped = _PACKAGE / folder / f"{name}.py"
    if os.path.isfile(name):
        return name
    if name and not name.endswith(".py") and shipped.is_file():
        return str(shipped)
    known = _known(function)
    close = difflib.get_close_matches(name.removeprefix(f"{folder}/").removesuffix(".py"), known, 3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UserError(f"no {kind} {name!r}: it is neither a file here nor one of those that come with this code "
                    f"({', '.join(known)}).{hint}")


def _known(function: str) -> list[str]:
    """The names of the files that come with this code and have the function."""
    folder = _PACKAGE / _KINDS[function][1]
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.py")
                  if path.name != "__init__.py" and f"\ndef {function}(" in path.read_text())


def call(path: str, function: str, *arguments: str):
    """What the file's function returns.

    An error of the file's own becomes a UserError that tells its line; UserError and OSError pass as they are.
    """
    name = pathlib.Path(path).stem
    spec = importlib.util.spec_from_file_location(name, path, loader=importlib.machinery.SourceFileLoader(name, path))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, function):
            raise UserError(f"{path} has no {function}(): see {_KINDS[function][1]}/ for examples")
        return getattr(module, function)(*arguments)
    except (UserError, OSError):
        raise
    except Exception as error:
        raise UserError(f"{_place(error, path)}: {type(error).__name__}: {error}") from error


def _place(error: Exception, path: str) -> str:
    """FILE:LINE of the file's own line in which the error arose; FILE alone where the call did not fit its function."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if os.path.abspath(frame.filename) == os.path.abspath(path)]
    return f"{path}:{lines[-1]}" if lines else path
