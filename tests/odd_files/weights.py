"""One network in the wrappings in which people pass weights on, given to import_weights.

Files of torch itself are those of tests/embedders/public_weights/goldens, of a network of three tensors, which are
compared one by one; those of a whole network are written by the tests' own writer of that format.
"""

import functools
import io
import json
import shutil
import types
from contextlib import redirect_stdout

import numpy as np

from geodesic import embedders
from geodesic.embedders.public_weights import containers, pretrained, weight_files
from geodesic.embedders.resnet import BasicBlock, ResNet
from geodesic.experiments import import_weights
from geodesic.experiments.trained import loading
from tests.embedders.public_weights.containers_test import FILES, FIRST, GOLDENS, assert_network
from tests.embedders.public_weights.weight_files_test import Mention, safetensors, torch_state, torch_zip
from tests.experiments.checkpoints.imported_test import state_dict
from tests.odd_files.place import Place, Row

NETWORK = functools.partial(ResNet, stage_sizes=(1, 1), block=BasicBlock, width=8, stem="small", layer="stage2")
NAME = "resnet_of_two_blocks"


def of_torch(*names: str) -> None:
    """What is taken of the files that torch wrote: network 1, whichever else there is."""
    for name in names:
        container, others, prefix = FILES[name]
        taken = containers.choose(weight_files.read_all(str(GOLDENS / name)), "", FIRST)
        assert (taken.container, taken.others) == (container, others), (name, taken.container, taken.others)
        assert_network(taken.tensors, 1, prefix, {"lightning.ckpt": 1, "moco.pth": 4}.get(name, 0))


def imported(place: Place, path, plus: float = 0, **values) -> str:
    """The first line of import_weights; its folder has the network of `state_dict`, and `plus` added to each number."""
    out = place.folder / f"out{len(list(place.folder.glob('out*')))}"
    given = {"weights": str(path), "embedder": NAME, "out": str(out), "prefix": "", "class_names": "",
             "allow_missing": [], "allow_unexpected": [], "channel_order": "", "mean": [], "std": [], "image_size": 16}
    known = embedders.EMBEDDERS, embedders.PUBLIC_LAYOUTS
    known[0][NAME], known[1][NAME] = NETWORK, ("torchvision",)
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            import_weights.main(None, types.SimpleNamespace(**given | values))
        found = loading.load(str(out)).variables
        expected = pretrained.convert({name: value + np.float32(plus) for name, value in state_dict().items()}, NAME)
        for kind in expected:
            for module, leaves in expected[kind].items():
                assert same(found[kind][module], leaves), f"{kind}/{module} is another one"
    except Exception:
        assert not out.exists(), "something was written"
        raise
    finally:
        for registry in known:
            del registry[NAME]
    lines = said.getvalue().splitlines()
    return place.tell("; ".join(line.strip() for line in lines[:2] if line.startswith(("taken", "  "))))


def same(found: dict, expected: dict) -> bool:
    return all(same(found[name], value) if isinstance(value, dict) else np.array_equal(found[name], value)
               for name, value in expected.items())


def torch_file(place: Place, name: str, value, **states: dict):
    """A file of torch's form; `value` is made of the pickled states by their names."""
    made, storages = {}, {}
    for part, state in states.items():
        whole, data = torch_state({f"{part} {key}": array for key, array in state.items()})
        made[part] = {key.partition(" ")[2]: tensor for key, tensor in whole.items()}
        renumber(made[part], len(storages))
        storages |= {str(int(key) + len(storages)): content for key, content in data.items()}
    return torch_zip(place.folder / name, value(**made), storages)


def renumber(state: dict, start: int) -> None:
    for tensor in state.values():
        storage = tensor.arguments[0]
        kind, type_, key, device, count = storage.reference
        storage.reference = (kind, type_, str(int(key) + start), device, count)


def below(prefix: str, state: dict) -> dict:
    return {prefix + name: value for name, value in state.items()}


def more(by: float) -> dict:
    return {name: value + np.float32(by) for name, value in state_dict().items()}


def two_encoders(place: Place) -> str:
    of_torch("moco.pth")
    path = torch_file(place, "moco.pth", lambda q, k: {"state_dict": {**q, **k}, "epoch": 3},
                      q=below("module.encoder_q.", state_dict()),
                      k=below("module.encoder_k.", more(1)) | {"module.queue": np.ones((2, 3), np.float32)})
    refused = place.refusal(imported, place, path)
    assert "--prefix=module.encoder_q, --prefix=module.encoder_k" in refused
    taken = imported(place, path, prefix="module.encoder_q")
    imported(place, path, plus=1, prefix="module.encoder_k")
    return f"{refused}; with the first: {taken}"


def lightning(place: Place) -> str:
    of_torch("lightning.ckpt")
    path = torch_file(place, "last.ckpt", lambda state: {"state_dict": state, "epoch": 3},
                      state=below("model.backbone.", state_dict()) | {"loss.W": np.ones((4, 2), np.float32)})
    refused = place.refusal(imported, place, path)
    assert "--prefix=model.backbone" in refused
    return f"{refused}; with it: {imported(place, path, prefix='model.backbone')}"


def beside(place: Place, *names: str, value) -> str:
    of_torch(*names)
    return imported(place, torch_file(place, names[0], value, state=state_dict()))


def other_containers(place: Place) -> str:
    of_torch("model_state_dict.pth", "network.pth", "nested.pth", "dino.pth")
    said = [imported(place, torch_file(place, f"{key}.pth", lambda state, key=key: {key: state, "loss": 0.1},
                                       state=state_dict())) for key in ("model_state_dict", "network", "anything")]
    path = torch_file(place, "dino.pth", lambda student, teacher: {"student": student, "teacher": teacher},
                      student=below("module.backbone.", more(1)), teacher=below("backbone.", state_dict()))
    said.append(imported(place, path))
    imported(place, path, plus=1, prefix="student")
    return "; ".join(said)


def average(place: Place) -> str:
    of_torch("timm_ema.pth")
    path = torch_file(place, "ema.pth", lambda state, mean: {"state_dict": state, "state_dict_ema": mean},
                      state=state_dict(), mean=more(1))
    said = imported(place, path)
    assert "state_dict_ema" in said
    imported(place, path, plus=1, prefix="state_dict_ema")
    return said


def extensions(place: Place) -> str:
    of_torch("legacy.pth.tar", "pytorch_model.bin", "lightning.ckpt")
    whole = torch_file(place, "w.pth", lambda state: state, state=state_dict())
    names = ("w.ckpt", "pytorch_model.bin", "model.pth.tar", "W.PTH", "w.safetensors", "weights")
    for name in names:
        shutil.copy(whole, place.folder / name)
        imported(place, place.folder / name)
    return f"read by what is in them: {', '.join(names)}"


def shards(place: Place) -> str:
    of_torch("model.safetensors.index.json", "pytorch_model.bin.index.json")
    state, files = state_dict(), [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    of = {name: files[place_ % 2] for place_, name in enumerate(state)}
    for file in files:
        (place.folder / file).write_bytes(safetensors({name: state[name] for name in state if of[name] == file}))
    index = place.folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": of}))
    alone = place.refusal(imported, place, place.folder / files[0])
    assert "one of 2 shards" in alone
    return f"{imported(place, index)}; one alone {alone}"


def not_finite(place: Place) -> str:
    state = state_dict()
    state["layer2.0.bn2.bias"][3] = np.nan
    refused = place.refusal(imported, place, torch_file(place, "nan.pth", lambda state: state, state=state))
    assert "not finite" in refused
    return refused


def no_weights(place: Place) -> str:
    marker = place.folder / "marker"
    files = {"page.pth": b"<html>Quota exceeded</html>", "pointer.safetensors":
             b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 46807446\n", "empty.pth": b""}
    lines = []
    for name, content in files.items():
        (place.folder / name).write_bytes(content)
        lines.append(place.refusal(imported, place, place.folder / name))
    path = torch_file(place, "runs.pth", lambda state: {"args": Mention("os", "system", f"touch {marker}"), "x": state},
                      state=state_dict())
    lines.append(place.refusal(imported, place, path))
    assert "asks for os.system" in lines[-1] and not marker.exists()
    return "; ".join(line[:150] for line in lines)


ROWS = {
    "two_encoders": Row("MoCo: two encoders and a queue in one dictionary", two_encoders,
                        "Neither is the likelier one: the choice is the user's, in one flag."),
    "loss_beside_the_backbone": Row("a checkpoint of Lightning with the loss's weights", lightning),
    "numbers_of_numpy": Row("a NumPy scalar, an array and a random state beside the weights", lambda place: beside(
        place, "numpy_scalar.pth", value=lambda state: {"state_dict": state, "best": Mention(
            "numpy", "dtype", "f8")})),
    "options_beside_the_weights": Row("argparse.Namespace beside the weights", lambda place: beside(
        place, "namespace.pth", value=lambda state: {"state_dict": state, "args": Mention(
            "argparse", "Namespace")}), "It is read past, and nothing of it is run."),
    "other_containers": Row("model_state_dict, network, any key; teacher and student", other_containers),
    "other_extensions": Row(".ckpt, .bin, .pth.tar, capitals, a wrong one, none", extensions),
    "shards": Row("safetensors in shards with their index, and a shard alone", shards),
    "weights_not_finite": Row("one NaN in the weights", not_finite),
    "average_beside_the_weights": Row("timm's average beside the weights", average,
                                      "state_dict is what was asked to be trained; the other is named."),
    "no_weights": Row("a web page, a pointer of LFS, nothing, a pickle that would run a command", no_weights),
}
