"""Views of pictures that a frozen trunk sees once: its maps of them are kept on the disk, and the head learns from
these.

With `detection.kept_views` = V each picture has V views, which come round again: in epoch e a picture shows view e mod
V. A batch whose views have all been seen costs no pass through the trunk. Maps are kept in float16, and what has just
been computed is rounded alike, so that a run is the same whatever it finds on the disk.

WORKDIR/views/DIGEST/ holds a file for each layer, f16[N*V,h,w,C], and those of each process of a pod are its own;
DIGEST is of all that decides the maps. `seen` has a bit for each row that is there. It is written after them, now and
then: a crash costs some seconds of work. A run that is finished removes them.
"""

import json
import os
import shutil
import time
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from geodesic.configs import stored
from geodesic.datasets import identity
from geodesic.embedders import ABOVE_TRUNK
from geodesic.errors import UserError
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import mapped, storage
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import workdir as workdirs
from geodesic.experiments.process.mesh import AXIS
from geodesic.experiments.trained import network
from geodesic.experiments.trained.embedding import normalize
from geodesic.experiments.training import phases

_KEEP_EVERY = 10.0  # seconds of work that a crash may cost


class Kept:
    """Batches of a run whose trunk is frozen, with maps in the place of images."""

    def __init__(self, config, model, mesh: jax.sharding.Mesh, source, workdir: str):
        self._config, self._model, self._mesh, self._source = config, model, mesh.local_mesh, source
        self._folder = os.path.join(workdir, "views")
        self._rows, self._store, self._compute = len(source) * config.detection.kept_views, None, None

    def of(self, batch: dict, state) -> dict:
        """A host's batch, whose "view" says which row of the store each image is, with "image": layer -> f16[b,h,w,C].

        state: the run's, of which the trunk is read. Raises OSError where the disk is full, before anything is
        computed.
        """
        rows = batch["view"]
        if self._store is None:
            with jax.transfer_guard("allow"):  # of the trunk, once
                self._open(state)
        if not self._store.has(rows):
            self._store.put(rows, self._compute(batch["image"]))
        return {**{name: values for name, values in batch.items() if name != "view"}, "image": self._store.get(rows)}

    def close(self) -> None:
        """They are there for a run that goes on."""
        if self._store is not None:
            self._store.keep()

    def remove(self) -> None:
        """Of a run that is finished, also those that one of its processes has left behind."""
        self._store = None
        shutil.rmtree(self._folder, ignore_errors=True)  # other processes of a pod do the same

    def _open(self, state) -> None:
        """The store of this trunk. It is not known before the first step: the trunk comes with the state."""
        variables = jax.device_get(jax.tree.map(
            lambda leaf: leaf.addressable_data(0),
            {"params": state.params["embedder"], "batch_stats": state.batch_stats}))
        trunk = {kind: {name: tree for name, tree in trees.items() if name not in ABOVE_TRUNK}
                 for kind, trees in variables.items()}
        about = _identity(self._config, self._source, checkpoint.digest(trunk))
        share = f"-{jax.process_index()}" if jax.process_count() > 1 else ""
        self._store = _Store(mapped.place(self._folder, about) + share, about, {
            name: (self._rows, *leaf.shape[1:]) for name, leaf in self._model.batch["image"].items()})
        self._compute = _make_maps(self._model, self._mesh, variables)


class New:
    """Batches of a run that sees new views in every epoch: they are as they come."""

    def of(self, batch: dict, state) -> dict:
        return batch

    def close(self) -> None:
        pass

    def remove(self) -> None:
        pass


def make(config, model, mesh: jax.sharding.Mesh, source, workdir: str) -> Kept | New:
    """Raises UserError for a workdir that is no folder of this machine."""
    if not kept(config):
        return New()
    if storage.is_remote(workdir):
        raise UserError(f"detection.kept_views maps files of a disk, and {workdir} is a bucket: set it to 0, or train "
                        f"in a folder of this machine")
    return Kept(config, model, mesh, source, workdir)


def kept(config) -> int:
    """How many views of each picture are kept; 0 for none."""
    return config.detection.kept_views if config.task == "detection" else 0


def check(config, starts: dict[str, int | None]) -> None:
    """Raises UserError where the maps of views would change while a run learns.

    starts: of `phases.first_steps`.
    """
    if not kept(config):
        return
    frozen = phases.make(config.optimizer, starts)
    learns = [name for name in starts if name not in ABOVE_TRUNK and any(name not in part for part in frozen.frozen)]
    if learns:
        raise UserError(f"detection.kept_views keeps what a frozen trunk gives, and {learns[0]} learns: set "
                        f"optimizer.trunk_learning_rate_factor=0.0, or kept_views=0")


def layers(config, embedder) -> dict[str, jax.ShapeDtypeStruct]:
    """What stands in the place of an image: the maps that the head is given of one."""
    known = network.layers(embedder, network.image_size(config))
    return {name: jax.ShapeDtypeStruct(known[name], np.float16) for name in embedder.head_layers}


def _identity(config, source, digest: str) -> dict:
    whole = stored.as_dict(config)
    options = {name: whole["detection"][name] for name in ("height", "width", "max_boxes", "layers", "kept_views")}
    return json.loads(json.dumps({
        "trunk": digest, "embedder": whole["embedder"], "input": whole["input"], "detection": options,
        "box_augment": whole["box_augment"], "seed": config.seed, "records": identity.identity(source)["records"]}))


def _make_maps(model, mesh: jax.sharding.Mesh, variables: dict) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """images u8[b,H,W,3] -> layer -> f16[b,h,w,C], on the devices of a mesh of this process."""
    def local(variables, images):
        found = model.embedder.apply(variables, normalize(images, model.input), train=False, method="features")
        return {name: found[name].astype(np.float16) for name in model.batch["image"]}

    maps = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS)))
    placed = meshes.replicate(mesh, variables)

    def compute(images: np.ndarray) -> dict[str, np.ndarray]:
        found = jax.device_get(maps(placed, meshes.put_batch(mesh, images)))
        if any(not np.isfinite(values).all() for values in found.values()):
            raise UserError("a map of the trunk has numbers that float16 does not hold: set detection.kept_views=0")
        return found

    return compute


class _Store:
    def __init__(self, folder: str, about: dict, shapes: dict[str, tuple[int, ...]]):
        os.makedirs(folder, exist_ok=True)
        self._folder, self._last = folder, time.monotonic()
        self._paths = [os.path.join(folder, f"layer{place}.npy") for place in range(len(shapes))]
        self._seen = self._read_seen(about, next(iter(shapes.values()))[0])
        self._maps = {name: mapped.begun(path) if self._seen.any() else mapped.new(path, np.float16, shape)
                      for path, (name, shape) in zip(self._paths, shapes.items(), strict=True)}

    def has(self, rows: np.ndarray) -> bool:
        return bool(self._seen[rows].all())

    def get(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values[rows] for name, values in self._maps.items()}

    def put(self, rows: np.ndarray, found: dict[str, np.ndarray]) -> None:
        for name, values in found.items():
            self._maps[name][rows] = values
        self._seen[rows] = True
        if time.monotonic() - self._last > _KEEP_EVERY:
            self.keep()

    def keep(self) -> None:
        for values in self._maps.values():
            values.flush()
        content = np.packbits(self._seen).tobytes()
        workdirs.write_atomically(os.path.join(self._folder, "seen"), content)
        self._last = time.monotonic()

    def _read_seen(self, about: dict, rows: int) -> np.ndarray:
        path, described = os.path.join(self._folder, "seen"), os.path.join(self._folder, "about.json")
        try:
            if workdirs.read_json(described) == about and all(os.path.exists(path) for path in self._paths):
                return np.unpackbits(np.frombuffer(storage.read(path), np.uint8), count=rows).astype(bool)
        except (FileNotFoundError, ValueError):
            pass
        workdirs.write_json(described, about)
        return np.zeros(rows, bool)
