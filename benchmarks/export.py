"""Every embedder as an ONNX file, bare, with its neck and as a classifier: nodes, size, seconds, and how near it comes.

    python -m benchmarks.export [--embedders=resnet8,iresnet18] [--workdir=weights/keras --rounds=9]
    python -m benchmarks.export --embedders=none --workdir=weights/keras        # the second part alone
    python -m benchmarks.export --latency=3 [--embedders=resnet8,iresnet18]     # seconds beside this code, 3 rounds

Weights are drawn from seed 0, with the statistics that BatchNorm has on the pictures that the files are compared on
(the faces of the quickstart, 32 px; 64 px for Inception-BN). With --workdir, a run or imported weights are exported as
they are, and ONNX Runtime and this code embed 1 and 32 pictures in turns. With --latency the rows that are there get
such seconds too, of files that are written again and not compared again, and of weights whose statistics are not set.
"""

import concurrent.futures
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
from geodesic.experiments.trained import embedding, export, export_wanted, exportable, exported, loading, network

OUT = pathlib.Path(__file__).parent / "results"
SIZES, USUAL_SIZE, NECK, CLASSES, BATCHES = {"inception_bn": 64}, 32, 128, 100, (1, 32)
# What is exported of an embedder: what is above the trunk, the embedding's size, the output.
ABOVE = (("bare", 0, "embedding"), ("neck", NECK, "embedding"), ("classifier", 0, "scores"))
# A turn is of so many calls as take this long.
TURN_SECONDS = 0.1


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


def variables_of(name: str, pictures: np.ndarray | None) -> dict:
    """Variables with a neck; BatchNorm has the statistics of these pictures u8[N,S,S,3], or drawn ones.

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
    if pictures is None:
        return variables
    images = (pictures.astype(np.float32) - 127.5) / 127.5
    _, updated = embedder.apply(variables, jnp.asarray(images), train=True, mutable=["batch_stats"])
    return {"params": variables["params"], "batch_stats": jax.tree.map(np.asarray, updated["batch_stats"])}


def without_neck(variables: dict) -> dict:
    return {kind: {key: leaf for key, leaf in tree.items() if key != "neck"} for kind, tree in variables.items()}


def pictures_of(name: str, source) -> np.ndarray:
    """u8[32,S,S,3], of all parts of the source."""
    places = np.linspace(0, len(source) - 1, 32).astype(int)
    return np.stack([transforms.eval_view(source[int(place)], config_of(name, 0).input) for place in places])


def saved(folder: str, name: str, size: int, whole: dict) -> str:
    """A workdir of these variables, with a neck or without one, and a classifier."""
    config = config_of(name, size)
    width = network.size_of(network.abstract(network.make_embedder(config_of(name, 0).embedder),
                                             config.input.image_size)[0])
    head = imported.Head((np.random.default_rng(1).standard_normal((width, CLASSES)) / width ** 0.5).astype(np.float32),
                         np.zeros(CLASSES, np.float32), [f"class {place}" for place in range(CLASSES)], [""] * CLASSES)
    imported.save(f"{folder}/run", config, whole if size else without_neck(whole), {}, head)
    return f"{folder}/run"


def rows_of(name: str, source) -> list[dict]:
    """The three exports of an embedder."""
    pictures, rows = pictures_of(name, source), []
    whole = variables_of(name, pictures)
    for above, size, output in ABOVE:
        with tempfile.TemporaryDirectory() as folder:
            run = loading.load(saved(folder, name, size, whole))
            facts = run.export(f"{folder}/out", output=output)["files"]["model.onnx"]
        rows.append({"embedder": name, "above": above, "image_size": pictures.shape[1],
                     **{key: facts[key] for key in ("nodes", "bytes", "seconds", "parity")}})
        print(f"{name} {above}: {export.describe(facts)}", flush=True)
    return rows


def latencies_of(name: str, source, rounds: int) -> dict[str, dict]:
    """What is above the trunk -> {pictures: {"geodesic" and "onnxruntime": seconds of each round}, "load"}.

    The run's own program gives a bare embedding before its length is taken; a classifier's scores are made of it.
    """
    whole, pictures, found, steps = variables_of(name, None), pictures_of(name, source), {}, {}
    for above, size, output in ABOVE:
        with tempfile.TemporaryDirectory() as folder:
            run = loading.load(saved(folder, name, size, whole))
            compute = session_of(run, output, f"{folder}/out", source)
            if size not in steps:
                steps[size] = own_step(run, pictures)
            ours = steps[size]
            if output == "scores":
                ours = lambda pixels, run=run, step=steps[size]: run.classifier.predict(np.asarray(step(pixels)))
        found[above] = {"load": os.getloadavg()[0]}
        for batch in BATCHES:
            found[above][str(batch)] = times = seconds_of_a_call(
                {"geodesic": functools.partial(ours, pictures[:batch]),
                 "onnxruntime": functools.partial(compute, pictures[:batch])}, rounds)
            print(f"{name} {above}, {batch} picture(s): {milliseconds(times)} ms", flush=True)
    return found


def own_step(run, pictures: np.ndarray):
    """The run's own program, compiled for all batches."""
    step = embedding.make_embed_step(run.embedder, run.mesh, run.config.input)
    placed = meshes.replicate(run.mesh, run.variables)
    ours = lambda pixels: jax.block_until_ready(step(placed, meshes.put_batch(run.mesh, pixels)))
    with concurrent.futures.ThreadPoolExecutor(len(BATCHES)) as pool:
        list(pool.map(ours, [pictures[:batch] for batch in BATCHES]))
    return ours


def session_of(run, output: str, out: str, source):
    """The file of a run, which nothing is compared with, by ONNX Runtime on as many threads as there are cores."""
    import onnxruntime

    from geodesic.experiments.exporting import write

    wanted = export_wanted.wanted(run.config, out, output=output, images=source)
    model = write.onnx_model(exportable.function(run, wanted, "float32"), (*wanted.size, 3), np.uint8,
                             exportable.ARRAYS[output], {})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"images": pixels})


def seconds_of_a_call(runs: dict, rounds: int) -> dict[str, list[float]]:
    """Of every round, in turns, each of as many calls as fill TURN_SECONDS."""
    calls = {}
    for name, run in runs.items():
        begun = time.perf_counter()
        run()
        calls[name] = max(1, round(TURN_SECONDS / (time.perf_counter() - begun)))
    wall, _ = turns.measure({name: functools.partial(repeated, run, calls[name]) for name, run in runs.items()}, rounds)
    return {name: [seconds / calls[name] for seconds in times] for name, times in wall.items()}


def repeated(run, times: int) -> None:
    for _ in range(times):
        run()


def milliseconds(times: dict[str, list[float]]) -> str:
    """Medians: of this code, and of ONNX Runtime."""
    return " / ".join(f"{1000 * statistics.median(times[name]):.1f}" for name in ("geodesic", "onnxruntime"))


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
             "1 - cosine | 1 picture, ms, this code / onnxruntime | 32 pictures |", "|---" * 10 + "|"]
    lines += [f"| {row['embedder']} | {row['above']} | {row['image_size']} | {row['nodes']} | "
              f"{row['bytes'] / 2**20:.1f} | {row['seconds']:.1f} | {row['parity']['relative']:.1e} | "
              f"{row['parity']['one_minus_cosine']:.1e} | "
              + " | ".join(milliseconds(row["latency"][str(batch)]) if "latency" in row else "" for batch in BATCHES)
              + " |"
              for row in sorted(record["rows"], key=lambda row: [*embedders.EMBEDDERS].index(row["embedder"]))]
    if missing := [name for name in embedders.EMBEDDERS if all(row["embedder"] != name for row in record["rows"])]:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    if measured := [row["latency"] for row in record["rows"] if "latency" in row]:
        loads, rounds = [one["load"] for one in measured], len(measured[0]["1"]["geodesic"])
        lines += ["", f"Milliseconds of a call are medians of {rounds} rounds in turns, each of {TURN_SECONDS:g} s or "
                  f"one call, both on all cores (`{command} --latency={rounds}`); load average {min(loads):.1f} to "
                  f"{max(loads):.1f}."]
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
    asked = turns.options(__doc__, embedders="", workdir="", rounds=9, latency=0, out=str(OUT))
    import onnx

    runtime.start(0)
    begun, load, source = time.perf_counter(), os.getloadavg()[0], datasets.build("orl_faces")
    path = pathlib.Path(asked.out, "export.json")
    # Rows of an earlier command stay until their embedder is asked for again.
    record = json.loads(path.read_text()) if path.exists() else {"rows": [], "whole": None, "seconds": 0.0}
    record["onnx"], begun = onnx.__version__, begun - record["seconds"]
    jax.config.update("jax_disable_most_optimizations", not asked.latency)  # what is compiled here is run once
    chosen = asked.embedders.split(",") if asked.embedders else [*embedders.EMBEDDERS]
    for name in chosen if chosen != ["none"] else ():
        mine = [row for row in record["rows"] if row["embedder"] == name]
        if asked.latency and mine:
            found = latencies_of(name, source, asked.latency)
            for row in mine:
                row["latency"] = found[row["above"]]
        elif not asked.latency:
            before = {row["above"]: {"latency": row["latency"]} for row in mine if "latency" in row}
            record["rows"] = [row for row in record["rows"] if row["embedder"] != name] + [
                row | before.get(row["above"], {}) for row in rows_of(name, source)]
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
