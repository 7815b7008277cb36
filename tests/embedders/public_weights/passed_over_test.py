"""What lies beside the weights is read past, and nothing of it is run."""

import pathlib
import pickle

import numpy as np
import pytest

from geodesic.embedders.public_weights import passed_over, weight_files
from tests.embedders.public_weights.weight_files_test import TENSORS, Mention, assert_tensors, torch_state, torch_zip


@pytest.mark.parametrize("module", ["omegaconf.dictconfig", "pytorch_lightning.utilities.parsing",
                                    "lightning_fabric.utilities.data", "mmengine.logging.history_buffer", "argparse"])
def test_options_beside_the_weights(tmp_path, module):
    state, storages = torch_state(TENSORS)
    value = {"hyper_parameters": Mention(module, "Namespace", {"lr": 0.1}, [1, 2]), "state_dict": state}
    assert_tensors(weight_files.read(torch_zip(tmp_path / "w.ckpt", value, storages)))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_opcode_that_makes_an_object_is_read_past(tmp_path, protocol):
    """Of objects as Python itself writes them."""
    import argparse
    import collections
    import datetime

    value = {"args": argparse.Namespace(a=[1], b=argparse.Namespace()), "counts": collections.Counter("aab"),
             "lists": collections.defaultdict(list, x=[1]), "queue": collections.deque([1, 2]),
             "path": pathlib.PurePosixPath("a/b"), "when": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
             "set": {1, 2}, "number": np.float64(0.5), "array": np.arange(3), "fortran": np.ones((2, 3), order="F"),
             "object": object()}
    parts = [pickle.dumps(part, protocol) for part in (0x1950A86A20F9469CFC6C, 1001, {}, value, [])]
    (tmp_path / "w.pt").write_bytes(b"".join(parts))
    with pytest.raises(ValueError, match="holds no tensor"):
        weight_files.read(str(tmp_path / "w.pt"))


# Each would write the file `marker` if it ran.
HIDDEN = {
    "as an argument": lambda marker: Mention("argparse", "Namespace", Mention("os", "system", f"touch {marker}")),
    "as a key": lambda marker: {Mention("os", "system", f"touch {marker}"): 1},
    "of a package that is passed over": lambda marker: Mention("omegaconf.os", "system", f"touch {marker}"),
    "by the constructor": lambda marker: Mention("copyreg", "_reconstructor", Mention("os", "system"), 1, 2),
    "a list of calls": lambda marker: Mention("builtins", "list", Mention("os", "system", f"touch {marker}")),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_nothing_runs(tmp_path, name):
    marker = tmp_path / "marker"
    state, storages = torch_state(TENSORS)
    path = torch_zip(tmp_path / "w.pth", {"options": HIDDEN[name](marker), "state_dict": state}, storages)
    if name.startswith("of a package"):
        assert_tensors(weight_files.read(path))
    else:
        with pytest.raises(ValueError, match=r"asks for os\.system, which is no tensor.*save the weights alone"):
            weight_files.read(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["eval", "exec", "getattr", "open", "compile", "__import__", "map", "filter", "type"])
def test_builtins_that_do_something_are_not_known(name):
    assert not passed_over.knows("builtins", name) and not passed_over.knows("__builtin__", name)


def test_a_stand_in_keeps_nothing():
    """Neither do its class and its other instances change when a file tries to change one."""
    thing = passed_over.Nothing(1, x=2)
    thing.__setstate__((None, {"append": 3}))
    passed_over.Nothing.__setstate__((None, {"append": 3}))
    thing.extend([1])
    thing["a"] = 1
    assert passed_over.Nothing().append(1) is None
    with pytest.raises(AttributeError):
        thing.x = 1
