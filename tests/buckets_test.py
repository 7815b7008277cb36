"""Runs whose workdir lies in a bucket: as on a disk, bit for bit, whatever ends their processes."""

import importlib
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import zipfile

import jax
import numpy as np
import PIL.Image
import pytest

import geodesic
from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments import evaluate, report, train
from geodesic.experiments.checkpoints import checkpoint, imported, seal
from geodesic.experiments.process import appending, lease, progress, storage
from geodesic.experiments.protocols import record
from geodesic.experiments.trained import embedding_file, network, thresholds
from geodesic.metrics import retrieval
from tests import buckets
from tests.experiments import tiny

_TIMES = ("images_per_second", "data_wait", "eta_seconds")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    tiny.faces(folder)
    return folder


def config(folder, **changes):
    ours = {"num_epochs": 5, "run__checkpoint_every_steps": 3, "run__keep_best": "map@r"}
    return tiny.config(folder, **{**ours, **changes})


@pytest.fixture(scope="module")
def on_disk(faces, tmp_path_factory):
    """A run that nothing has interrupted."""
    workdir = str(tmp_path_factory.mktemp("disk") / "run")
    assert train.train(config(faces), workdir) == 0
    return workdir


def result(workdir: str) -> tuple:
    """(the steps that are kept, what the last checkpoint holds, what was told)."""
    with checkpoint.Checkpoints(workdir) as checkpoints:
        steps = checkpoints.all_steps()
    record = seal.read(f"{workdir}/checkpoints/{steps[-1]}")
    told = [{name: value for name, value in line.items() if name not in _TIMES}
            for line in progress.read_metrics(workdir)]
    return steps, record["digests"], record["data"], record["score"], told


class StopAt:
    """A signal that comes at a time."""

    def __init__(self, calls: int):
        self._left = calls

    @property
    def received(self):
        self._left -= 1
        return signal.SIGTERM if self._left < 0 else None


def test_a_run_stopped_and_resumed_equals_that_of_a_disk(bucket, faces, on_disk, capsys):
    run = f"{bucket}/runs/faces"
    assert train.train(config(faces), run, StopAt(5)) == 128 + signal.SIGTERM
    assert f"training in {run}" in capsys.readouterr().out
    assert train.train(config(faces), run + "/") == 0
    assert f"resuming at step 5 in {run}" in capsys.readouterr().out
    assert result(run) == result(on_disk)
    assert train.train(config(faces), run) == 0
    assert "is finished: 12 steps. Nothing to do." in capsys.readouterr().out
    with pytest.raises(UserError, match=r"holds a run of another configuration: seed 0 .now 1."):
        train.train(config(faces, seed=1), run)
    storage.write(f"{bucket}/other/file", b"")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        train.train(config(faces), f"{bucket}/other")


def test_a_second_run_is_refused_and_changes_nothing(bucket, faces, monkeypatch):
    run = f"{bucket}/run"
    monkeypatch.setattr(lease, "RENEWAL", 0.3)
    with lease.held(run):
        with pytest.raises(UserError, match=rf"{run} is in use by process {os.getpid()} on "):
            train.train(config(faces), run)
        assert storage.names(run) == [".lock"]


@pytest.mark.slow
@buckets.s3_and_slowly_gs
def test_over_a_network_that_fails_at_every_fifth_request_nothing_is_lost(bucket, servers, faces, on_disk, monkeypatch):
    kind = bucket.partition("://")[0]
    monkeypatch.setattr(appending, "_SECONDS", 0.1)
    with buckets.Proxy(servers[kind], 0.2) as proxy:
        buckets.use(monkeypatch, **{kind: proxy.port})
        buckets.without_pauses(monkeypatch)
        assert train.train(config(faces), f"{bucket}/run") == 0
        assert proxy.faults.total() > 10
    buckets.use(monkeypatch, **servers)
    assert result(f"{bucket}/run") == result(on_disk)


@pytest.mark.slow
@buckets.s3_and_slowly_gs
def test_a_bucket_that_is_away_for_a_while_ends_no_run(bucket, faces, on_disk, monkeypatch, capsys):
    """It goes after the first checkpoint, and comes back before the end: the checkpoints between are lost, and told."""
    run = f"{bucket}/run"
    write, gone = storage.write, threading.Event()

    def failing(path, content):
        if gone.is_set() and "/checkpoints/6" in path:
            raise storage.LostError(110, f"{path} could not be reached for 300 s: a lost connection")
        gone.set() if "/checkpoints/3/manifest" in path else None
        write(path, content)

    monkeypatch.setattr(storage, "write", failing)
    assert train.train(config(faces), run) == 0
    assert "the checkpoint of step 6 cannot be written: " in capsys.readouterr().out
    assert result(run)[1:] == result(on_disk)[1:]


@pytest.mark.slow
@buckets.s3_and_slowly_gs
def test_whatever_uses_a_run_reads_it_there(bucket, faces, on_disk, tmp_path, capsys):
    """Loading, evaluating, thresholds, records and the report, embedding files: each as from the disk."""
    folder, run = str(tmp_path / "run"), f"{bucket}/run"
    shutil.copytree(on_disk, folder)
    assert train.train(config(faces), run) == 0
    pages, models = [], []
    images = sorted(str(path) for path in faces.rglob("*.*"))
    rows = np.random.default_rng(0).normal(size=(60, 8)).astype("f4")
    found = thresholds.calibrate(retrieval.normalized(rows), np.arange(60) // 3, 0.1, 0)
    for workdir in (folder, run):
        models.append(model := geodesic.load(workdir))
        evaluate.evaluate(model, baselines=False, also=("health",))
        thresholds.save(workdir, model.identity, found, {"name": "x", "path": "", "identities": ["a"]})
        pages.append(re.sub(r"(?s)<pre.*?</pre>", "", report.render(model.config, workdir)))
        written = record.write(workdir, {"selection": {"rule": "last"}, "protocol": {"name": "faces"}})
        assert record.find(workdir) == [written] and record.find(written) == [written]
        with pytest.raises(UserError, match=f"{written} is no result record of version 1: it does not say schema"):
            record.read(written)
        for extension in (".parquet", ".npz"):
            file, content = workdir + "/photos" + extension, embedding_file.Embeddings(
                images, model.embed(images), model.identity, root=str(faces))
            embedding_file.write(file, content)
            read = embedding_file.read(file)
            np.testing.assert_array_equal(read.embeddings, content.embeddings)
            assert read.paths == images and read.identity == model.identity
    assert models[0].identity == models[1].identity and models[0].threshold == models[1].threshold == found.threshold
    assert models[0].class_names == models[1].class_names
    np.testing.assert_array_equal(models[0].classify(images), models[1].classify(images))
    assert pages[0] == pages[1]


@pytest.mark.parametrize("bucket", ["gs"], indirect=True)
def test_a_run_on_images_of_a_bucket_is_the_run_on_those_of_a_disk(bucket, faces, on_disk, tmp_path, monkeypatch):
    """Begun on the one, and ended on the other."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    there, run = f"{bucket}/faces", str(tmp_path / "run")
    storage.send(str(faces), there)
    assert train.train(config(there), run, StopAt(5)) == 128 + signal.SIGTERM
    assert train.train(config(faces), run) == 0
    assert result(run) == result(on_disk)
    storage.remove(f"{there}/class0/0.jpg")
    with pytest.raises(UserError, match=r"the images of class 'class0' are others \(4 then, 3 now\)"):
        train.train(config(there, num_epochs=6), run, extend_to_epochs=6)


@pytest.mark.slow
@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_programs_read_images_of_a_bucket(bucket, faces, on_disk, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    there, model, said = f"{bucket}/faces", geodesic.load(on_disk), []
    storage.send(str(faces), there)
    for root in (str(faces), there):
        here = tmp_path / root.partition(":")[0].strip("/").replace("/", "-")
        name = lambda file, here=here: str(here / file)
        program("embed", f"--workdir={on_disk}", f"--images={root}", f"--out={name('e.parquet')}")
        read = embedding_file.read(name("e.parquet"))
        assert read.root == root and read.paths[0] == f"{root}/class0/0.jpg" and len(read.labels) == 20
        np.testing.assert_array_equal(model.embed(f"{root}"), read.embeddings)
        np.testing.assert_array_equal(model.embed([f"{root}/class0/0.jpg"])[0], read.embeddings[0])
        capsys.readouterr()
        program("search", f"--workdir={on_disk}", f"--embeddings={name('e.parquet')}", f"--query={root}/class0/0.jpg",
                f"--out={name('found.png')}")
        program("inspect_data", "--source=image_folder", f"--path={root}", f"--out={name('inspection')}")
        program("prepare", "--source=image_folder", f"--path={root}", f"--out={name('prepared')}")
        program("evaluate", f"--workdir={on_disk}", f"--config.test_data.path={root}", "--nobaselines")
        words = " ".join(capsys.readouterr().out.replace(name(""), "HERE").replace(root, "ROOT").split())
        pictures = [np.asarray(PIL.Image.open(name(file))) for file in ("found.png", "inspection/samples.png")]
        prepared = datasets.build("array_record", path=name("prepared"))
        said.append((words, [picture.tobytes() for picture in pictures], prepared.record_names(),
                     read.embeddings.tolist()))
    assert "class0/1.jpg" in said[0][0] and "20 images of 5 classes" in said[0][0]
    assert said[0][1:] == said[1][1:]
    assert said[0][0] == said[1][0]


def program(name: str, *words: str) -> None:
    """Runs one as the command line does. Its end must be a good one."""
    found = importlib.import_module(f"geodesic.experiments.{name}")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["geodesic", *words])
        runpy.run_path(found.__file__, run_name="__main__")
    assert not ended.value.code, ended.value.code


@pytest.mark.slow
@buckets.s3_and_slowly_gs
def test_imported_weights_lie_there_too_and_a_run_starts_from_them(bucket, faces, tmp_path):
    folder, weights = str(tmp_path / "weights"), f"{bucket}/weights"
    options = config(faces, total_steps=1)
    variables = jax.device_get(network.init_embedder(network.make_embedder(options.embedder), 16, 3))
    for place in (folder, weights):
        imported.save(place, options, variables, {})
        options.init_from = place
        assert train.train(options, f"{place}-run") == 0
    assert result(f"{folder}-run")[1] == result(f"{weights}-run")[1]
    buckets.flip(f"{weights}/weights.npz", len(storage.read(f"{weights}/weights.npz")) // 2)
    with pytest.raises((UserError, zipfile.BadZipFile), match=r"are damaged|Bad CRC"):
        geodesic.load(weights)


def test_pictures_beside_embeddings_in_a_bucket_have_paths_there(bucket):
    root = f"{bucket}/photos"
    content = embedding_file.Embeddings([f"{root}/a/x.png"], np.ones((1, 2), np.float32), {}, root=root)
    embedding_file.write(f"{root}/e.parquet", content)
    storage.move(f"{bucket}/photos", f"{bucket}/moved")
    assert embedding_file.read(f"{bucket}/moved/e.parquet").paths == [f"{bucket}/moved/a/x.png"]


@pytest.mark.parametrize("program, words, said", [
    *((program, ["--workdir=URL"], "error: no run in 'URL' (it has no config.json)") for program in
      ("train", "evaluate", "calibrate", "report", "verify", "embed", "search")),
    ("compare", ["URL"], "error: no record in 'URL'"), ("runs", ["URL"], "error: there is no folder 'URL'"),
    ("search", ["--workdir=x", "--embeddings=URL.npz"], "error: no run in 'x'"),
    ("train", ["--workdir=x", "--config=stored:URL/c.json"], "error: [Errno 2] there is no such object: 'URL/c.json'"),
    ("import_weights", ["--weights=none", "--embedder=resnet18", "--out=URL"], "error: no file 'none'"),
    ("import_weights", ["--weights=URL"], "error: --weights=URL: expected a file or folder of this machine"),
    ("embed", ["--root=URL"], "error: --root=URL: expected a file or folder of this machine"),
    ("train", ["--workdir=ftp://host/run"], "error: --workdir=ftp://host/run: there is no storage ftp://")])
@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_which_programs_take_a_place_in_a_bucket(bucket, program, words, said, monkeypatch, capsys):
    url = f"{bucket}/nothing"
    monkeypatch.setattr(sys, "argv", ["geodesic", *(word.replace("URL", url) for word in words)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"geodesic.experiments.{program}", run_name="__main__")
    line = ended.value.code if isinstance(ended.value.code, str) else capsys.readouterr().err
    assert line.startswith(said.replace("URL", url)) and line.strip().count("\n") == 0


_RUN = """
import sys
from geodesic.experiments import train
from tests import buckets_test
sys.exit(train.train(buckets_test.config(sys.argv[1], num_epochs=30), sys.argv[2]))
"""


def start(faces, run: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-u", "-c", _RUN, str(faces), run], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, env={**os.environ, "NPROC": "32"})


@pytest.mark.slow
@pytest.mark.parametrize("kills", [20])
def test_killed_at_random_moments_it_ends_as_if_nothing_had_been(bucket, faces, tmp_path, kills):
    """SIGKILL some steps, or some time of a save, after it goes on; the last process makes the rest."""
    run, draw = f"{bucket}/run", random.Random(bucket)
    assert start(faces, str(tmp_path / "disk")).wait() == 0
    for _ in range(kills):
        process, left = start(faces, run), draw.randrange(1, 6)
        for line in process.stdout:
            left -= line.startswith("step ")
            if left <= 0:
                threading.Event().wait(draw.random() * 0.3)
                break
        process.kill()
        process.wait()
    ended = start(faces, run)
    said, _ = ended.communicate()
    assert ended.returncode == 0, said
    assert result(run) == result(str(tmp_path / "disk"))


_ONE_OF_TWO = """
import sys
from geodesic.experiments.process import hosts, runtime
runtime.start(cpu_devices=4)
address, index, folder, run, calls = sys.argv[1:]
hosts.start(address, 2, int(index))
from geodesic.experiments import train
from tests import buckets_test
sys.exit(train.train(buckets_test.config(folder), run, buckets_test.StopAt(int(calls))))
"""


def two(faces, run: str, calls: int) -> list[subprocess.Popen]:
    """Two processes of four devices, which stop at a signal some steps on."""
    address = f"127.0.0.1:{buckets._free_port()}"
    command = [sys.executable, "-u", "-c", _ONE_OF_TWO, address]
    return [subprocess.Popen([*command, str(index), str(faces), run, str(calls)], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, env={**os.environ, "NPROC": "32"})
            for index in range(2)]


@pytest.mark.slow
def test_two_processes_write_it_together_and_one_goes_on(bucket, faces, tmp_path):
    """One of them is killed after a checkpoint, both go on, and stop; a process of all devices makes the rest."""
    run, disk = f"{bucket}/run", str(tmp_path / "run")
    killed = two(faces, run, 1000)
    for line in killed[0].stdout:
        if line.startswith("step  7/"):
            break
    for process in killed[::-1]:
        process.kill()
        process.wait()
    with checkpoint.Checkpoints(run) as checkpoints:
        step = checkpoints.latest_step()
    assert step in (3, 6)
    for workdir, calls in ((run, 9 - step), (disk, 9)):
        processes = two(faces, workdir, calls)
        said = [process.communicate()[0] for process in processes]
        assert [process.returncode for process in processes] == [128 + signal.SIGTERM] * 2, said
    with checkpoint.Checkpoints(run) as checkpoints, checkpoint.Checkpoints(disk) as others:
        assert checkpoints.latest_step() == others.latest_step() and 9 <= checkpoints.latest_step() < 12
    files = storage.files(f"{run}/checkpoints/9")
    assert {"parts/0-00000", "parts/1-00000", "manifest.json"} == {*files}
    assert result(run) == result(disk)
    for workdir in (run, disk):
        assert train.train(config(faces), workdir) == 0
    assert result(run) == result(disk)
