"""Every embedder as an ONNX file, bare, with its neck and as a classifier: nodes, size, seconds, and how near it comes.

    python -m benchmarks.export [--embedders=resnet8,iresnet18] [--workdir=weights/keras --rounds=9]
    python -m benchmarks.export --embedders=none --workdir=weights/keras        # the second part alone

Weights are drawn from seed 0, with the statistics that BatchNorm has on the pictures that the files are compared on
(the faces of the quickstart, 32 px; 64 px for Inception-BN). With --workdir, a run or imported weights are exported as
they are, and ONNX Runtime and this code embed 1 and 32 pictures in turns.
"""

import functools
import json
import os
import pathlib
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

import geodesic
from benchmarks import turns
from geodesic import datasets, embedders
from geodesic.configs import default
from geodesic.datasets import transforms
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.process import runtime, workdir
from geodesic.experiments.trained import embedding, export, exported, loading, network

OUT = pathlib.Path(__file__).parent / "results"
SIZES, USUAL_SIZE, NECK, CLASSES, BATCHES = {"inception_bn": 64}, 32, 128, 100, (1, 32)


def config_of(name: str, embedding_size: int):
    config = default.get_config()
    config.embedder.name, config.embedder.embedding_size = name, embedding_size
    config.input.image_size = SIZES.get(name, USUAL_SIZE)
    return config


def drawn(path, like) -> np.ndarray:
    """A seeded number for every variable: convolutions as by He et al., scales of 1, small biases, slopes of .25."""
    name, rng = path[-1].key, np.random.default_rng((0, like.size, len(path)))
    if name in ("scale", "var", "slope"):
        return np.full(like.shape, {"slope": 0.25}.get(name, 1.0), np.float32)
    spread = np.sqrt(2 / np.prod(like.shape[:-1])) if len(like.shape) > 1 else 0.1
    return (spread * rng.standard_normal(like.shape)).astype(np.float32)


def variables_of(name: str, pictures: np.ndarray) -> dict:
    """Variables with a neck; BatchNorm has the statistics of these pictures u8[N,S,S,3].

    As in trained networks, the last BatchNorm of a residual branch has a small scale: with 1, a deep network multiplies
    any rounding by thousands, in every framework, and nothing can be compared.
    """
    config = config_of(name, NECK)
    config.embedder.bn_momentum = 0.0
    embedder = network.make_embedder(config.embedder, config.head)
    variables = jax.tree_util.tree_map_with_path(drawn, network.abstract(embedder, config.input.image_size)[1])
    for name, block in variables["params"].items():
        if name.startswith("stage"):
            block[max(key for key in block if key.startswith("bn"))]["scale"] *= np.float32(0.2)
    images = (pictures.astype(np.float32) - 127.5) / 127.5
    _, updated = embedder.apply(variables, jnp.asarray(images), train=True, mutable=["batch_stats"])
    return {"params": variables["params"], "batch_stats": jax.tree.map(np.asarray, updated["batch_stats"])}


def without_neck(variables: dict) -> dict:
    return {kind: {key: leaf for key, leaf in tree.items() if key != "neck"} for kind, tree in variables.items()}


def rows_of(name: str, source) -> list[dict]:
    """The three exports of an embedder."""
    places = np.linspace(0, len(source) - 1, 32).astype(int)
    pictures = np.stack([transforms.eval_view(source[int(place)], config_of(name, 0).input) for place in places])
    whole, rows = variables_of(name, pictures), []
    width = network.size_of(network.abstract(network.make_embedder(config_of(name, 0).embedder),
                                             pictures.shape[1])[0])
    head = imported.Head((np.random.default_rng(1).standard_normal((width, CLASSES)) / width ** 0.5).astype(np.float32),
                         np.zeros(CLASSES, np.float32), [f"class {place}" for place in range(CLASSES)], [""] * CLASSES)
    for above, variables, size, output in (("bare", without_neck(whole), 0, "embedding"),
                                           ("neck", whole, NECK, "embedding"),
                                           ("classifier", without_neck(whole), 0, "scores")):
        with tempfile.TemporaryDirectory() as folder:
            imported.save(f"{folder}/run", config_of(name, size), variables, {}, head)
            facts = loading.load(f"{folder}/run").export(f"{folder}/out", output=output)["files"]["model.onnx"]
        rows.append({"embedder": name, "above": above, "image_size": pictures.shape[1],
                     **{key: facts[key] for key in ("nodes", "bytes", "seconds", "parity")}})
        print(f"{name} {above}: {export.describe(facts)}", flush=True)
    return rows


def latency(path: str, source, rounds: int) -> dict:
    """A run as it is: its files, and seconds of its own program and of ONNX Runtime for the same pixels, in turns."""
    run = geodesic.load(path)
    with tempfile.TemporaryDirectory() as folder:
        record = run.export(f"{folder}/out", ("onnx", "stablehlo"), images=source, say=print)
        model = exported.load(f"{folder}/out/model.onnx")
    options, seconds = run.config.input, {}
    step, placed = embedding.make_embed_step(run.embedder, run.mesh, options), meshes.replicate(run.mesh, run.variables)
    ours = lambda pixels: jax.block_until_ready(step(placed, meshes.put_batch(run.mesh, pixels)))
    for batch in BATCHES:
        pixels = np.stack([transforms.eval_view(source[place], options) for place in range(batch)])
        seconds[str(batch)], _ = turns.measure({"geodesic": functools.partial(ours, pixels),
                                                "onnxruntime": functools.partial(model.compute, pixels)}, rounds)
    return {"embedder": run.config.embedder.name, "image_size": options.image_size, "files": record["files"],
            "seconds": seconds}


def described(record: dict) -> str:
    """The page."""
    command = "python -m benchmarks.export"
    lines = ["# Exported files", "", f"`{command}`: every embedder as ONNX, random weights with the statistics of the "
             f"pictures; a neck of {NECK} numbers, a classifier of {CLASSES} classes.", "",
             "| embedder | above the trunk | pixels | nodes | MiB | seconds to write | greatest relative difference | "
             "1 - cosine |", "|---|---|---|---|---|---|---|---|"]
    lines += [f"| {row['embedder']} | {row['above']} | {row['image_size']} | {row['nodes']} | "
              f"{row['bytes'] / 2**20:.1f} | {row['seconds']:.1f} | {row['parity']['relative']:.1e} | "
              f"{row['parity']['one_minus_cosine']:.1e} |"
              for row in sorted(record["rows"], key=lambda row: [*embedders.EMBEDDERS].index(row["embedder"]))]
    if missing := [name for name in embedders.EMBEDDERS if all(row["embedder"] != name for row in record["rows"])]:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    if whole := record["whole"]:
        show = lambda times: f"{statistics.median(times):.3f} ({min(times):.3f} to {max(times):.3f})"
        onnx, other = whole["files"]["model.onnx"], whole["files"]["model.stablehlo"]
        lines += ["", f"{whole['embedder']} at {whole['image_size']} px (`--workdir`): {onnx['nodes']} nodes, "
                  f"{onnx['bytes'] / 2**20:.1f} MiB, written in {onnx['seconds']:.1f} s; greatest relative difference "
                  f"{onnx['parity']['relative']:.1e}, StableHLO {other['parity']['relative']:.1e}. Seconds, median "
                  f"(least to most) of {len(next(iter(whole['seconds'].values()))['geodesic'])} rounds in turns:", "",
                  "| pictures | this code | onnxruntime | ratio |", "|---|---|---|---|"]
        lines += [f"| {batch} | {show(times['geodesic'])} | {show(times['onnxruntime'])} | "
                  f"{statistics.median(times['geodesic']) / statistics.median(times['onnxruntime']):.2f} |"
                  for batch, times in whole["seconds"].items()]
    made = record["made"]
    before, after = record["load"]
    return "\n".join([*lines, "", f"{made['machine']}; onnx {record['onnx']}, "
                      f"{record['rows'][0]['parity']['runtime']}, jax {made['packages']['jax']}; load average "
                      f"{before:.1f} before and {after:.1f} after: above the number of cores, other work shared the "
                      f"machine, and seconds are too long. {record['seconds']:.0f} s in all. {made['date']}, commit "
                      f"{made['commit']}.", ""])


def main() -> None:
    asked = turns.options(__doc__, embedders="", workdir="", rounds=9, out=str(OUT))
    import onnx

    runtime.start(0)
    begun, load, source = time.perf_counter(), os.getloadavg()[0], datasets.build("orl_faces")
    path = pathlib.Path(asked.out, "export.json")
    # Rows of an earlier command stay until their embedder is asked for again.
    record = json.loads(path.read_text()) if path.exists() else {"rows": [], "whole": None, "seconds": 0.0}
    record["onnx"], begun = onnx.__version__, begun - record["seconds"]
    jax.config.update("jax_disable_most_optimizations", True)  # what is compiled here is run once
    chosen = asked.embedders.split(",") if asked.embedders else [*embedders.EMBEDDERS]
    for name in chosen if chosen != ["none"] else ():
        record["rows"] = [row for row in record["rows"] if row["embedder"] != name] + rows_of(name, source)
        write(asked.out, record, begun, load)
    jax.config.update("jax_disable_most_optimizations", False)
    if asked.workdir:
        record["whole"] = latency(asked.workdir, source, asked.rounds)
    write(asked.out, record, begun, load)


def write(out: str, record: dict, begun: float, load: float) -> None:
    """The page as far as it is."""
    record |= {"load": [load, os.getloadavg()[0]], "seconds": time.perf_counter() - begun,
               "made": workdir.environment(jax.devices())}
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "export.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "export.md").write_text(described(record))


if __name__ == "__main__":
    main()
