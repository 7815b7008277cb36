import importlib
import pathlib

import pytest

from geodesic.configs import default, stored

CONFIGS = sorted(path for path in pathlib.Path("configs").rglob("*.py")
                 if path.stem not in ("__init__", "stored", "protocols", "limits")
                 and not path.stem.endswith("_fields") and path.parent.name != "sweeps")


def load(path: pathlib.Path):
    return importlib.import_module(".".join(("geodesic", *path.with_suffix("").parts))).get_config()


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_every_config_has_the_defaults_fields_and_no_others(path):
    def fields(section, prefix=""):
        names = set()
        for key, value in section.items():
            names |= fields(value, f"{prefix}{key}.") if hasattr(value, "items") else {prefix + key}
        return names

    assert fields(load(path)) == fields(default.get_config())


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_a_stored_config_comes_back_equal(path, tmp_path):
    config = load(path)
    (tmp_path / "config.json").write_text(config.to_json())
    assert stored.get_config(str(tmp_path / "config.json")) == config


def test_configs_are_locked():
    with pytest.raises(AttributeError, match="seed"):
        default.get_config().sed = 1
