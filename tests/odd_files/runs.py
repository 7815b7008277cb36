"""Folders and data that have cost people their training: it goes on, or does not begin."""

import os
import shutil
import signal
from contextlib import redirect_stdout
from io import StringIO

import jax
import numpy as np

from geodesic.experiments import tasks, train
from geodesic.experiments.checkpoints import checkpoint
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model
from tests.datasets import images
from tests.experiments import tiny
from tests.odd_files.place import Place, Row, listed


class StopAfter:
    """A stop signal that arrives when it is asked for the n-th time."""

    def __init__(self, calls: int = 10 ** 9):
        self.calls = calls

    @property
    def received(self):
        self.calls -= 1
        return signal.SIGTERM if self.calls <= 0 else None


def run(config, workdir: str, stop: int = 10 ** 9, **options) -> tuple[int, str]:
    said = StringIO()
    with redirect_stdout(said):
        status = train.train(config, workdir, StopAfter(stop), **options)
    return status, said.getvalue()


def state(config, workdir: str):
    mesh = meshes.make()
    built = model.build(config, tasks.get(config.task), 5, 20, mesh)
    with checkpoint.Checkpoints(workdir) as checkpoints:
        return jax.device_get(checkpoints.restore(model.abstract_state(built, mesh))[0])


def same(one, other) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


NAMES = ["run [a]", "lr=[0.1]", "[0-9]", "a\\b", "logs:", "caf\udce9", "new\nline", "$HOME", "100%", "a?b*c"]


def workdirs(place: Place) -> str:
    """Stopped and gone on with in each; then with the commands."""
    config = tiny.config(place.shared.faces, total_steps=4, evaluation__every_epochs=0.0)
    whole = str(place.folder / "whole")
    assert run(config, whole)[0] == 0
    expected = state(config, whole)
    for name in NAMES:
        workdir = os.path.join(place.folder, "runs", name)
        assert run(config, workdir, stop=3)[0] == 128 + signal.SIGTERM, name
        status, said = run(config, workdir)
        assert status == 0 and "step 4" in said and same(state(config, workdir), expected), name
    assert sorted(os.listdir(place.folder / "runs")) == sorted(NAMES)
    workdir, out = os.path.join(place.folder, "runs", NAMES[0]), place.folder / "e.parquet"
    place.command("evaluate", f"--workdir={workdir}")
    place.command("embed", f"--workdir={workdir}", f"--images={place.shared.faces}", f"--out={out}")
    again = place.command("train", f"--config=tests/faults/tiny_config.py:{place.shared.faces}",
                          f"--workdir={place.folder}/lr=[0.2]", "--config.total_steps=2",
                          "--config.evaluation.every_epochs=0")
    assert "step  2/2" in again or "step 2/2" in again
    return f"stopped and gone on with to the same state, bit for bit, in {listed(NAMES)}; evaluate and embed end with 0"


def before_the_first_step(place: Place, changes: dict) -> str:
    """By the command: one line, status 1, and no workdir."""
    workdir = place.folder / "run"
    flags = [f"--config.{name}={value}" for name, value in changes.items()]
    line = place.error("train", f"--config=tests/faults/tiny_config.py:{place.shared.faces}", f"--workdir={workdir}",
                       *flags)
    assert not workdir.exists()
    return f"refused before the first step: {line}"


def one_class(place: Place) -> str:
    (place.folder / "photos").mkdir()
    shutil.copytree(place.shared.faces, place.folder / "photos" / "train")
    said = before_the_first_step(place, {"train_data.path": place.folder / "photos"})
    assert "all 20 training images" in said and "of one class, 'train'" in said, said
    return said


def one_image_each(place: Place) -> str:
    said = before_the_first_step(place, {"test_data.path": images.make_folder(place.folder / "test", 5, 1)})
    assert "no class has two images" in said, said
    one = before_the_first_step(place, {"test_data.path": images.make_folder(place.folder / "one", 1, 4)})
    assert "one class" in one, one
    return f"{said}; {one}"


def alike(place: Place) -> str:
    """Test images that are all alike: known at the end of the training alone, which is kept."""
    test = images.make_folder(place.folder / "test", 2, 3)
    for path in test.glob("*/*.jpg"):
        path.write_bytes((test / "class0" / "0.jpg").read_bytes())
    config = tiny.config(place.shared.faces, total_steps=3, test_data__path=str(test))
    said = place.refusal(run, config, str(place.folder / "run"))
    assert "collapsed" in said and (place.folder / "run" / "checkpoints" / "3").is_dir(), said
    return f"step 3 is saved; {said.removeprefix('refused: ')}"


def not_finite(place: Place) -> str:
    out = place.folder / "e.parquet"
    line = place.error("embed", f"--workdir={place.shared.broken_weights}", f"--images={place.shared.faces}",
                       f"--out={out}")
    assert "none of the 20 images" in line and "finite embedding" in line and not out.exists(), line
    return line.replace(f"{place.shared.folder}/", "")


def elsewhere(place: Place) -> str:
    photos, there = place.folder / "photos", place.folder / "scratch" / "copy"
    shutil.copytree(place.shared.faces, photos)
    shutil.copytree(photos, there)
    config = lambda folder, steps: tiny.config(folder, total_steps=steps, run__checkpoint_every_steps=1)
    whole = str(place.folder / "whole")
    assert run(config(photos, 4), whole)[0] == 0
    (place.folder / "link").symlink_to(there)
    for name, path in {"copied": there, "relative": os.path.relpath(photos), "linked": place.folder / "link"}.items():
        workdir = str(place.folder / name)
        assert run(config(photos, 4), workdir, stop=3)[0] == 128 + signal.SIGTERM
        assert run(config(path, 4), workdir)[0] == 0, name
        assert same(state(config(photos, 4), workdir), state(config(photos, 4), whole)), name
    return "goes on with a copy, a relative path and a link, to the same state bit for bit"


def permuted(place: Place) -> str:
    photos, workdir = place.folder / "photos", str(place.folder / "run")
    shutil.copytree(place.shared.faces, photos)
    config = tiny.config(photos, total_steps=4)
    assert run(config, workdir, stop=3)[0] == 128 + signal.SIGTERM
    (photos / "class0").rename(photos / "zz")
    renamed = place.refusal(run, config, workdir)
    (photos / "zz").rename(photos / "class0")
    for source, target in (("class0", "spare"), ("class1", "class0"), ("spare", "class1")):
        (photos / source).rename(photos / target)
    exchanged = place.refusal(run, config, workdir)
    assert "zz" in renamed and "'class0'" in exchanged, (renamed, exchanged)
    return f"{renamed}; two names exchanged: {exchanged}"


ROWS = {
    "brackets_in_a_workdir": Row("workdirs with brackets, backslash, colon, line break, no UTF-8", workdirs),
    "one_class": Row("a folder one level too high: all images of one class", one_class,
                     "A training with loss.num_classes given may have one class; it is warned of."),
    "one_image_a_class": Row("test sets of one image a class, and of one class", one_image_each),
    "test_images_alike": Row("test images that are all the same", alike,
                             "It shows in the embeddings alone, so the training comes first."),
    "embeddings_not_finite": Row("weights that embed as NaN", not_finite),
    "data_elsewhere": Row("the same photographs at another path, spelt otherwise, through a link", elsewhere),
    "classes_renamed": Row("a class renamed, or two exchanged, under a stopped run", permuted),
}
