"""What every program shares: flags, the configuration, one clear line for an error, and the start of JAX."""

import os
import sys
import traceback
from collections.abc import Callable

from absl import app, flags
from ml_collections import config_flags

from geodesic.errors import UserError
from geodesic.experiments.process import hosts, runtime, workdir

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

flags.DEFINE_string("workdir", "", "Folder of the run: its configuration, checkpoints, metrics and results.")
flags.DEFINE_integer("cpu_devices", 0, "Rehearse on this many fake CPU devices; 0 uses the machine's own.")
flags.DEFINE_string("coordinator_address", "", "Of many processes: host:port of the first. Slurm, Open MPI and TPUs "
                    "tell by themselves.")
flags.DEFINE_integer("num_processes", 0, "Of many processes: how many.")
flags.DEFINE_integer("process_id", -1, "Of many processes: which one this is, from 0.")
flags.DEFINE_bool("traceback", False, "Show where in the code an error was found.")
_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file; default: the one stored in --workdir.")


def run(main: Callable, define_flags: Callable = lambda: None, required: tuple[str, ...] = ("workdir",),
        configured: bool = True, takes: str = "", error_status: int = 1) -> None:
    """Parses the flags, starts JAX, and exits with what `main(config, flags)` returns (None: 0).

    define_flags: adds the program's own. Not at import, where two programs in one process would collide.
    configured: whether --workdir is a run's, with a configuration of its own to go by.
    takes: what the arguments without a name are, such as "IMAGE IMAGE"; then `main(config, flags, arguments)`.

    An error that this project raises, or that the system does (a missing file, a full disk), is one line on
    stderr and exit status `error_status`. Anything else is a defect and keeps its traceback. Of many processes only
    the first prints what is not an error.
    """
    define_flags()
    app.define_help_flags()
    values = flags.FLAGS
    try:
        _check_config_file(sys.argv)
        arguments = values(_with_stored_config(sys.argv) if configured else sys.argv)
        if len(arguments) > 1 and not takes:
            raise UserError(f"unexpected argument {arguments[1]!r}: every option is --name=value")
        for name in required:
            if not values[name].value:
                raise UserError(f"--{name}=... is required")
        config = _CONFIG.value
    except (flags.Error, AttributeError, KeyError, ValueError, TypeError, OSError) as error:
        _fail(error, f"error: {_flag_error(error)}", False, error_status)
    many = False
    try:
        runtime.start(values.cpu_devices)
        many = hosts.start(values.coordinator_address, values.num_processes, values.process_id)
        if many and not hosts.is_first():
            sys.stdout = open(os.devnull, "w")
        sys.exit(main(config, values, arguments[1:]) if takes else main(config, values))
    except (ValueError, FloatingPointError, OSError) as error:
        expected = isinstance(error, OSError) or _raised_here(error)
        line = f"error: {_one_line(error)}" if expected else hosts.lost_peer(error) if many else ""
        _fail(error, "" if values.traceback else line, many, error_status)
    except Exception as error:
        _fail(error, hosts.lost_peer(error) if many and not values.traceback else "", many, error_status)


def _fail(error: Exception, line: str, many: bool, status: int):
    """Ends the program with the line, or with the traceback where there is none: of another status than 1, too, lest
    a defect look like an answer."""
    if not many and status == 1:
        if line:
            sys.exit(line)
        raise error
    sys.stderr.write(line + "\n" if line else "".join(traceback.format_exception(error)))
    sys.stderr.flush()
    if many:
        # Leaving jax in the usual way would wait for the other processes, which may be waiting for this one.
        os._exit(status)
    sys.exit(status)


def _check_config_file(argv: list[str]) -> None:
    for argument in argv[1:]:
        name, _, value = argument.lstrip("-").partition("=")
        if name == "config" and not os.path.exists(value.partition(":")[0]):
            raise UserError(f"no configuration file {value!r}: see configs/ for those that there are")


def _with_stored_config(argv: list[str]) -> list[str]:
    """Adds --config for a workdir that has one, where none is given."""
    names = {argument.lstrip("-").split("=")[0] for argument in argv[1:] if argument.startswith("-")}
    given = [argument.split("=", 1)[1] for argument in argv[1:] if argument.lstrip("-").startswith("workdir=")]
    if "config" in names or not given:
        return argv
    stored = workdir.config_path(given[-1])
    if not os.path.exists(stored):
        raise UserError(f"no run in {given[-1]!r} (it has no {os.path.basename(stored)}): give the --workdir of a "
                         f"run, or train one with --config=configs/quickstart.py")
    # Before the overrides, which apply to what it loads.
    return [argv[0], f"--config={os.path.join(ROOT, 'configs', 'stored.py')}:{stored}", *argv[1:]]


def _flag_error(error: Exception) -> str:
    text = str(error).replace("\\'", "'").replace("\\n", "\n").strip("\"'")
    if isinstance(error, AttributeError | KeyError):
        # ml_collections: 'margn'\nDid you mean "margin" instead of "margn"?
        field, _, hint = text.partition("\n")
        hint = hint.strip("\"'")
        field = field.strip("'")
        return f"the configuration has no field {field!r}. {hint or 'See configs/default.py for all fields.'}"
    return _one_line(text)


def _one_line(error: Exception | str) -> str:
    return " ".join(str(error).split())


def _raised_here(error: Exception) -> bool:
    """Whether the innermost frame is a `raise` of this project's own code."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    # The virtual environment lies below ROOT too.
    ours = frame.filename.startswith(ROOT + os.sep) and "site-packages" not in frame.filename
    return ours and (frame.line or "").lstrip().startswith("raise")
