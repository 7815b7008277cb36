"""What every program shares: its flags and their help, the configuration, and one clear line for a user's error."""

import faulthandler
import gc
import os
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable

import ml_collections
import psutil
from absl import app, flags
from ml_collections import config_flags

from geodesic.errors import UserError
from geodesic.experiments.process import (
    accelerators,
    config_files,
    goodput,
    hosts,
    last_word,
    runtime,
    storage,
    workdir,
)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

_CONFIG_HELP = """  --config=FILE
      The configuration: a file with a get_config(), or the name of one that comes with this code, such as quickstart
      or templates/resnext. FILE:ARGUMENT calls get_config(ARGUMENT). Default: the one stored in --workdir.
  --config.FIELD=VALUE
      Sets one field of it. configs/default.py lists them all.
        --config.loss.arcface.margin=0.4
        --config.train_data.path=photos
        --config.test_data.classes='(30,40)'"""
# The flags of every program, by the title under which --help lists them.
_SHARED = {
    "Of every program": ("workdir", "cpu_devices", "allow_cpu", "traceback", "helpfull"),
    "Of many processes, where Slurm, Open MPI or a TPU does not tell by itself":
        ("coordinator_address", "num_processes", "process_id"),
}
_SHARED_NAMES = {name for names in _SHARED.values() for name in names}
# Flags that say where images are: their sources say what they read. And those whose URL is no file's.
_DATA = ("path", "images", "data", "config.train_data.path", "config.test_data.path")
_NO_PLACES = ("storage", "coordinator_address", "gallery")  # a gallery may be in a database: galleries/engines.py
# How --help shows a flag's value, by the name that absl has for its type.
_SHOWS = {"int": "N", "float": "X", "comma separated list of strings": "A,B,..."}


def run(main: Callable, define_flags: Callable = lambda: None, required: tuple[str, ...] = ("workdir",),
        configured: bool = True, takes: str = "", error_status: int = 1, alone: bool = False,
        buckets: tuple[str, ...] = ()) -> None:
    """Parses the flags, starts JAX, and exits with what `main(config, flags)` returns (None: 0).

    define_flags: adds the program's own. No flag is there before the program starts, and none is left after it.
    configured: whether --workdir is a run's, with a configuration of its own to go by.
    alone: one host of a TPU runs it; any other program waits there for the same program on all hosts.
    takes: what the arguments without a name are, such as "IMAGE IMAGE"; then `main(config, flags, arguments)`.
    buckets: the flags that may name a place in a bucket, "" for the arguments; those of data are in `_DATA`.

    A UserError, or an error of the system (a missing file, a full disk), is one line on stderr and exit status
    `error_status`. Anything else is a defect and keeps its traceback. Of many processes only the first prints what is
    not an error.
    """
    values, many, shows_all = flags.FLAGS, False, False
    own = _define(define_flags)
    try:
        options, arguments = _split(sys.argv, values)
        given = {name: _value(words) for name, words in options}
        shows_all = "traceback" in given
        if {"help", "helpshort", "h", "?"} & {*given}:
            print(_usage(main, own, required, configured, takes))
            sys.exit(0)
        _check_places([*given.items(), *(("", argument) for argument in arguments)], buckets)
        config = _load(given, configured)
        _parse(options, config)
        if arguments and not takes:
            raise UserError(f"unexpected argument {arguments[0]!r}: every option is --name=value")
        for name in required:
            if not (config if name == "config" else values[name].value):
                raise UserError(f"--{name}=... is required")
        if not gc.get_freeze_count():
            gc.freeze()  # what has been imported stays: not to be searched for garbage again and again
        faulthandler.enable(sys.__stderr__)  # native code that crashes says where
        runtime.start(values.cpu_devices)
        accelerators.cpu_is_allowed, goodput.program_started = values.allow_cpu, psutil.Process().create_time()
        many = hosts.start(values.coordinator_address, values.num_processes, values.process_id, alone)
        if many and not hosts.is_first():
            sys.stdout = open(os.devnull, "w", errors="replace")
        sys.exit(main(config, values, arguments) if takes else main(config, values))
    except (UserError, flags.Error, OSError) as error:
        _fail(error, "" if shows_all else f"error: {' '.join(str(error).split())}", many, error_status)
    except Exception as error:
        if many and (line := hosts.lost_peer(error)):
            if shows_all:
                traceback.print_exc()
            last_word.say(line)
        _fail(error, "", many, error_status)
    finally:
        for name in [*values]:
            if name in own or name in _SHARED_NAMES or name.partition(".")[0] == "config":
                delattr(values, name)


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


def _define(define_flags: Callable) -> list[str]:
    """Defines all flags but those of the configuration, which must be known first; the names of the program's own."""
    libraries = {*flags.FLAGS}  # they have flags too
    define_flags()
    own = [name for name in flags.FLAGS if name not in libraries]
    flags.DEFINE_string("workdir", "", "Folder of the run: configuration, checkpoints, metrics and results. On a disk "
                                       "or in a bucket (gs://BUCKET/FOLDER, s3://BUCKET/FOLDER).")
    flags.DEFINE_integer("cpu_devices", 0, "Rehearse on this many fake CPU devices; 0 uses the machine's own.")
    flags.DEFINE_bool("allow_cpu", False, "Run on the CPU of a machine whose accelerator jax cannot use.")
    flags.DEFINE_bool("traceback", False, "Show where in the code an error was found.")
    flags.DEFINE_flag(app.HelpfullFlag())
    flags.FLAGS["helpfull"].help = "Show the flags of all libraries too."
    flags.DEFINE_string("coordinator_address", "", "host:port of the first process.")
    flags.DEFINE_integer("num_processes", 0, "How many processes there are.")
    flags.DEFINE_integer("process_id", -1, "Which of them this one is, from 0.")
    return own


def _split(argv: list[str], values: flags.FlagValues) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """([(name, its words) of every option], the arguments without a name), read as absl reads them: --name=value,
    --name value, with one dash too, --name and --noname of a bool, --flagfile=FILE. After "--" all are arguments."""
    words, options, arguments = values.read_flags_from_files(argv[1:]), [], []
    while words:
        word = words.pop(0)
        if word == "--":
            return options, arguments + words
        name, equals, _ = re.sub("^--?", "", word).partition("=")
        if name == word or not name:
            arguments.append(word)
            continue
        takes = name == "config" or (name in values and not values[name].boolean)
        if name.startswith("config."):  # a bool may stand alone, a negative number is no option
            takes = bool(words) and not re.match("--?[a-zA-Z]", words[0])
        options.append((name, [word, words.pop(0)] if takes and not equals and words else [word]))
    return options, arguments


def _value(words: list[str]) -> str:
    return words[1] if len(words) > 1 else words[0].partition("=")[2]


def _check_places(given: list[tuple[str, str]], buckets: tuple[str, ...]) -> None:
    """Raises UserError, before anything is read or written, for a URL where no file or folder can be reached by one."""
    for name, value in given:
        if storage.scheme(value) and name not in _NO_PLACES:
            named = f"--{name}={value}" if name else value
            storage.check(value, named)
            if name not in (*buckets, *_DATA):
                raise UserError(f"{named}: expected a file or folder of this machine, which no bucket can be here")


def _load(given: dict[str, str], configured: bool) -> ml_collections.ConfigDict | None:
    """The configuration of --config, or the one that is stored in --workdir; None where there is neither."""
    name = given.get("config")
    if name is None and configured and given.get("workdir"):
        stored = workdir.config_path(given["workdir"])
        if not storage.exists(stored):
            raise UserError(f"no run in {given['workdir']!r} (it has no {os.path.basename(stored)}): give the "
                            f"--workdir of a run, or train one with --config=quickstart")
        name = f"stored:{stored}"
    if name is None:
        return None
    file, _, argument = name.partition(":")
    path = config_files.find(file, "get_config")
    if file == "stored" and storage.is_remote(argument):
        storage.check(argument, f"--config={name}")
        return config_files.call(path, "parse", storage.read(argument), argument)
    config = config_files.call(path, "get_config", *filter(None, [argument]))
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(f"get_config() of {path} returns a {type(config).__name__}; return default.get_config() of "
                        f"configs, changed")
    return config


def _parse(options: list[tuple[str, list[str]]], config: ml_collections.ConfigDict | None) -> None:
    """absl's parsing, and ml_collections' of the fields that are set. Where one is set twice, the last one counts."""
    field = lambda name: re.sub(r"^no(?=config\.)", "", name)
    last = {field(name): place for place, (name, _) in enumerate(options)}
    kept = [(name, words) for place, (name, words) in enumerate(options) if name != "config"
            and (not field(name).startswith("config.") or last[field(name)] == place)]
    fields = [name for name, _ in kept if field(name).startswith("config.")]
    if fields and config is None:
        raise UserError(f"--{fields[0]} sets a field of a configuration, and there is none: give --config=... too")
    argv = [sys.argv[0], *(word for _, words in kept for word in words)]
    try:
        if config is not None:
            config_flags.DEFINE_config_dict("config", config, sys_argv=argv)
        flags.FLAGS(argv)
    except (AttributeError, KeyError) as error:
        # ml_collections: 'margn'\nDid you mean "margin" instead of "margn"?
        text = str(error).replace("\\'", "'").replace("\\n", "\n").strip("\"'")
        name, _, hint = text.partition("\n")
        hint = hint.strip("\"'") or "See configs/default.py for all fields."
        raise UserError(f"the configuration has no field {name.strip(chr(39))!r}. {hint}") from error
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def _usage(main: Callable, own: list[str], required: tuple[str, ...], configured: bool, takes: str) -> str:
    """What --help prints: the program's docstring, then every flag once."""
    parts = [(main.__globals__["__doc__"] or "").strip()]
    parts += [f"Arguments: {takes}"] if takes else []
    parts += ["Of this program:\n" + "\n".join(_flag(name, required) for name in own)] if own else []
    parts += ["The configuration:\n" + _CONFIG_HELP] if configured else []
    parts += [f"{title}:\n" + "\n".join(_flag(name, required) for name in names) for title, names in _SHARED.items()]
    return "\n\n".join(parts)


def _flag(name: str, required: tuple[str, ...]) -> str:
    flag = flags.FLAGS[name]
    choices = "|".join(filter(None, getattr(flag.parser, "enum_values", None) or []))
    start = f"--{name}={choices or _SHOWS.get(flag.flag_type(), 'TEXT')}"
    if flag.boolean:
        start = f"--[no]{name}" if flag.default else f"--{name}"
    text = re.sub("^<[^>]*>: ", "", flag.help)  # absl puts an enum's choices there
    if name in required:
        text += " (required)"
    elif flag.default not in (None, "", 0, -1, []) and not flag.boolean:  # what these mean, the text says
        text += f" (default: {flag.default_as_str.strip(chr(39))})"
    width = min(shutil.get_terminal_size((100, 24)).columns, 110)
    return f"  {start}\n" + textwrap.fill(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
