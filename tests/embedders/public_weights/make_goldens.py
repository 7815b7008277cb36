"""Writes goldens/: a tiny state dict in the wrappings in which people pass weights on. It needs torch and safetensors.

    python tests/embedders/public_weights/make_goldens.py
"""

import argparse
import collections
import datetime
import json
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).parent / "goldens"


def state(number: int, prefix: str = "") -> dict:
    """Network `number`: its values begin at 100 times that. containers_test.py knows them."""
    tensors = {"conv1.weight": torch.arange(4.0).reshape(2, 2, 1, 1) + 100 * number,
               "bn1.weight": torch.tensor([1.5, -2.0]) + 100 * number, "bn1.num_batches_tracked": torch.tensor(7)}
    return collections.OrderedDict((prefix + name, value) for name, value in tensors.items())


def options() -> argparse.Namespace:
    return argparse.Namespace(
        lr=0.1, out=pathlib.PurePosixPath("runs/1"), device=torch.device("cpu"), dtype=torch.float16,
        when=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), since=datetime.timedelta(hours=1), kinds={1, 2},
        frozen=frozenset("a"), steps=collections.Counter([30, 60]), lists=collections.defaultdict(list, a=[1]),
        queue=collections.deque([1]), raw=b"\x00\xff", inner=argparse.Namespace(x=None), z=1j, kind=np.float32)


def numbers() -> dict:
    return {"best_acc": np.float64(0.5), "count": np.int64(3), "on": np.bool_(True), "array": np.arange(3),
            "texts": np.array(["a", "b"]), "random": np.random.get_state()}


def optimizer() -> dict:
    weight = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.AdamW([weight])
    weight.sum().backward()
    adam.step()
    steps = torch.optim.lr_scheduler.MultiStepLR(adam, [30, 60])
    return {"optimizer": adam.state_dict(), "scheduler": steps.state_dict()}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    save = lambda name, value, **how: torch.save(value, FOLDER / name, **how)
    save("numpy_scalar.pth", {"epoch": 5, "state_dict": state(1), **numbers()})
    save("namespace.pth", {"epoch": 5, "args": options(), "state_dict": state(1)})
    save("legacy.pth.tar", {"args": options(), "state_dict": state(1), **numbers(), **optimizer()},
         _use_new_zipfile_serialization=False)
    save("model_state_dict.pth", {**optimizer(), "model_state_dict": state(1), "loss": torch.tensor(0.1)})
    save("network.pth", {"config": {"a": 1}, "network": state(1)})
    save("nested.pth", {"model": {"state_dict": state(1)}, "version": "1"})
    save("dino.pth", {"student": state(2, "module.backbone."), "teacher": state(1, "backbone."), "epoch": 1})
    save("timm_ema.pth", {"state_dict": state(1), "state_dict_ema": state(2), "arch": "resnet18"})
    save("moco.pth", {"state_dict": {**state(1, "module.encoder_q."), **state(2, "module.encoder_k."),
                                     "module.queue": torch.ones(2)}})
    save("lightning.ckpt", {"state_dict": {**state(1, "model.backbone."), "loss.W": torch.ones(2)}, "epoch": 3,
                            "hyper_parameters": options(), "callbacks": {"best": {"score": torch.tensor(0.5)}}})
    save("pytorch_model.bin", state(1))
    one, two = "00001-of-00002", "00002-of-00002"
    shards = {"conv1.weight": one, "bn1.weight": two, "bn1.num_batches_tracked": two}
    for stem, extension, write in (("model", "safetensors", save_file), ("pytorch_model", "bin", torch.save)):
        for shard in (one, two):
            write({name: state(1)[name] for name in shards if shards[name] == shard},
                  FOLDER / f"{stem}-{shard}.{extension}")
        index = {name: f"{stem}-{shard}.{extension}" for name, shard in shards.items()}
        (FOLDER / f"{stem}.{extension}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


if __name__ == "__main__":
    main()
