"""Says which configuration a run has: reads it from a file of this or an older version, names it, compares it.

`--config=stored:WORKDIR/config.json` is the configuration that a run wrote into its workdir.
"""

import difflib
import hashlib
import json

import ml_collections

from geodesic.configs import default
from geodesic.errors import UserError

# Fields and sections that have had another name, old -> new. Files are read under both, hashes go by the old one.
RENAMED = {
    "loss.margin": "loss.margin_pairs",
    "loss.combine.margin": "loss.combine.margin_pairs",
    "optimizer.trunk_clip_norm": "optimizer.embedder_clip_norm",
}
# Values that have had another name: the field (by its name of today) -> old -> new.
RENAMED_VALUES = {"loss.name": {"margin": "margin_pairs"}}


def get_config(path: str) -> ml_collections.ConfigDict:
    """Does what `read` does; `--config=stored.py:PATH` calls it."""
    return read(path)


def read(path: str) -> ml_collections.ConfigDict:
    """Reads the configuration in a config.json that this or an older version wrote; it is locked.

    Fields that are newer than the file have their defaults, renamed ones their new names. Raises FileNotFoundError, or
    UserError for a file that is damaged or has a field that no version knows.
    """
    with open(path, "rb") as file:
        return parse(file.read(), path)


def parse(content: bytes, path: str) -> ml_collections.ConfigDict:
    """Does what `read` does, of a file's content."""
    try:
        values = json.loads(content)
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged: it holds a {type(values).__name__}, not a configuration")
    return from_dict(values, path)


def from_dict(values: dict, source: str) -> ml_collections.ConfigDict:
    """Makes the configuration of what `as_dict` of this or an older version gave. `source` names it in errors.

    Raises as `read` does.

    Example:
        >>> from_dict({"seed": 3, "optimizer": {"momentum": 0.8}}, "example").optimizer.momentum
        0.8
    """
    config = default.get_config()
    for name, value in flat(values).items():
        name = _replaced(name, RENAMED)
        section, _, field = name.rpartition(".")
        try:
            value = RENAMED_VALUES[name].get(value, value) if name in RENAMED_VALUES else value
            # JSON has no tuples, and a locked configuration refuses a list in a tuple's place.
            _at(config, section)[field] = _tuples(value)
        except (KeyError, AttributeError, TypeError) as error:
            raise UserError(f"{source} was written by another version of this code: {error}") from error
    if config.embedder.embedding_size == 0 and config.embedder.neck != "none":
        config.embedder.neck = None  # older versions took a neck that made nothing, and ignored it
    return config


def changed(config, fields: dict):
    """Copies a configuration with other values: dotted name -> value.

    Raises UserError for a field that there is not, with the nearest name, and for a value of another type.

    Example:
        >>> changed(default.get_config(), {"evaluation.layer": "stage3"}).evaluation.layer
        'stage3'
    """
    result, known = config.copy_and_resolve_references(), flat(as_dict(config))
    for name, value in fields.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise UserError(f"the configuration has no field {name!r}{hint}")
        section, _, field = name.rpartition(".")
        try:
            _at(result, section)[field] = _tuples(value)
        except TypeError as error:
            raise UserError(f"the field {name} cannot be {value!r}: {error}") from error
    return result


def as_dict(config) -> dict:
    """Turns a configuration into what JSON has: nested dictionaries, lists in place of tuples.

    Example:
        >>> as_dict(default.get_config())["train_data"]["classes"]
        [0, 0]
    """
    return json.loads(config.to_json())


def flat(values: dict, prefix: str = "") -> dict:
    """Puts the values of nested dictionaries under dotted names.

    Example:
        >>> flat({"a": {"b": 1}, "c": 2})
        {'a.b': 1, 'c': 2}
    """
    result = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result


def hash_of(config) -> str:
    """Names a configuration by 12 hex digits, `run` left out.

    A field of default.ADDED does not count while it has its default, and a renamed one counts under its old name: a
    version that adds or renames fields gives older configurations their old hashes.

    Example:
        >>> config = default.get_config()
        >>> config.run.log_every_steps = 7
        >>> hash_of(config) == hash_of(default.get_config())
        True
    """
    defaults = flat(as_dict(default.get_config()))
    old_names = {new: old for old, new in RENAMED.items()}
    nested = {}
    for name, value in flat(as_dict(config)).items():
        if _below(name, "run") or (value == defaults[name] and any(_below(name, added) for added in default.ADDED)):
            continue
        for old, new in RENAMED_VALUES.get(name, {}).items():
            value = old if value == new else value
        *sections, field = _replaced(name, old_names).split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[field] = value
    return hash_of_values(nested)


def hash_of_values(values: dict) -> str:
    """Names values by 12 hex digits, whatever their order.

    Example:
        >>> hash_of_values({"a": 1, "b": 2}) == hash_of_values({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def differing(stored, config) -> dict[str, tuple]:
    """Lists the fields in which two configurations differ: name -> (value in `stored`, value in `config`).

    The names are in order. What does not make it another run is left out: `run`, and where data lie.

    Example:
        >>> config = default.get_config()
        >>> config.update(seed=1, batch_size=64)
        >>> differing(default.get_config(), config)
        {'batch_size': (128, 64), 'seed': (0, 1)}
    """
    there, here = flat(as_dict(stored)), flat(as_dict(config))
    return {name: (there.get(name), here.get(name)) for name in sorted({*there, *here})
            if there.get(name) != here.get(name) and not _below(name, "run") and not name.endswith("_data.path")}


def _below(name: str, section: str) -> bool:
    """Says whether the dotted name is this one or lies in this section."""
    return name == section or name.startswith(section + ".")


def _replaced(name: str, table: dict[str, str]) -> str:
    """The name with what is in the table at its beginning replaced."""
    for before, after in table.items():
        if _below(name, before):
            return after + name[len(before):]
    return name


def _at(config, section: str):
    for key in filter(None, section.split(".")):
        config = config[key]
    return config


def _tuples(value):
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
