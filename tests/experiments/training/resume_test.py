"""A run that goes on is the run that was started; whatever else stands in its folder is refused or was nobody's."""

import json
import shutil

import jax
import numpy as np
import pytest

from geodesic.configs import stored
from geodesic.experiments import tasks, train
from geodesic.experiments.process import goodput, progress
from geodesic.experiments.process import mesh as meshes
from geodesic.experiments.training import model, resume
from tests.datasets import images
from tests.experiments import tiny


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    mesh = meshes.make(jax.devices()[:1])
    monkeypatch.setattr(meshes, "make", lambda devices=None: mesh)


def config_of(folder, **changes):
    """Trains on the first four classes of a folder, and is watched on the next two."""
    return tiny.config(folder, train_data__classes=(0, 4), test_data__classes=(4, 6), run__checkpoint_every_steps=1,
                       **changes)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A folder of six classes, and a run of two steps on four of them."""
    folder = tmp_path_factory.mktemp("started")
    images.make_folder(folder / "photos", 6, 4)
    mesh = meshes.make(jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meshes, "make", lambda devices=None: mesh)
        assert train.train(config_of(folder / "photos", total_steps=2), str(folder / "run")) == 0
    return folder


@pytest.fixture
def copied(started, tmp_path):
    """A copy of it whose photographs lie elsewhere: (photos, workdir)."""
    shutil.copytree(started / "run", tmp_path / "run")
    shutil.copytree(started / "photos", tmp_path / "elsewhere")
    return tmp_path / "elsewhere", tmp_path / "run"


def go_on(photos, workdir, **changes):
    return train.train(config_of(photos, total_steps=4), str(workdir), extend_to_epochs=2, **changes)


def digests(workdir, step):
    return json.loads((workdir / "checkpoints" / str(step) / "manifest.json").read_text().rpartition("\n}")[0] + "\n}")[
        "digests"]


@pytest.mark.slow
def test_the_same_data_elsewhere_go_on_bit_for_bit(started, copied, tmp_path):
    photos, workdir = copied
    shutil.copytree(started / "run", tmp_path / "there")
    assert go_on(started / "photos", tmp_path / "there") == 0
    assert go_on(photos, workdir) == 0
    assert digests(workdir, 4) == digests(tmp_path / "there", 4)
    (tmp_path / "link").symlink_to(photos)
    assert go_on(tmp_path / "link", workdir) == 0
    assert stored.read(str(workdir / "config.json")).train_data.path == str(tmp_path / "link")


def rename(photos):
    (photos / "class1").rename(photos / "class1b")


def insert(photos):
    shutil.copytree(photos / "class0", photos / "aaa")


def replace(photos):
    (photos / "class2" / "0.jpg").write_bytes((photos / "class3" / "1.jpg").read_bytes())


def permute(photos):
    for source, target in (("class0", "spare"), ("class1", "class0"), ("spare", "class1")):
        (photos / source).rename(photos / target)


def remove(photos):
    (photos / "class2" / "3.jpg").unlink()


def move_test_images(photos):
    (photos / "class4").rename(photos / "class6")


@pytest.mark.parametrize(("change", "said"), [
    (rename, "training data are not those of step 2: .*class1b"), (insert, "training data .*'aaa'"),
    (replace, "training data .*'class2'"), (permute, "training data .*'class0'"), (remove, "training data .*'class2'"),
    (move_test_images, "test data are not those that this run was watched on: .*'class6'"),
])
def test_other_data_are_refused_with_what_changed(copied, change, said):
    photos, workdir = copied
    before = (workdir / "config.json").read_bytes(), (workdir / "classes.json").read_bytes()
    change(photos)
    with pytest.raises(ValueError, match=said):
        go_on(photos, workdir)
    assert ((workdir / "config.json").read_bytes(), (workdir / "classes.json").read_bytes()) == before
    assert not (workdir / "checkpoints" / "3").exists()


@pytest.mark.slow
def test_a_checkpoint_of_an_older_version_goes_on_by_its_numbers(copied, monkeypatch, capsys):
    photos, workdir = copied
    position = resume.Data.position
    old = lambda self, step: {name: value for name, value in position(self, step).items()
                              if name not in ("records", "class_names")}
    (workdir / "classes.json").unlink()
    shutil.rmtree(workdir / "checkpoints")
    with monkeypatch.context() as patch:
        patch.setattr(resume.Data, "position", old)
        patch.setattr(resume, "has_made_a_step", lambda workdir: False)
        assert train.train(config_of(photos, total_steps=2), str(workdir)) == 0
    (workdir / "classes.json").unlink()
    assert go_on(photos, workdir) == 0
    assert "of an older version" in capsys.readouterr().out
    assert json.loads((workdir / "classes.json").read_text())["train"]["class_names"] == [f"class{i}" for i in range(4)]


@pytest.mark.slow
def test_a_finished_run_is_given_more_epochs(copied, capsys):
    photos, workdir = copied
    with pytest.raises(ValueError, match=r"total_steps 2 \(now 4\)\. .*--extend_to_epochs=N"):
        train.train(config_of(photos, total_steps=4), str(workdir))
    config = config_of(photos, total_steps=2, schedule__name="polynomial")
    assert train.train(config, str(workdir), extend_to_epochs=3) == 0
    output = capsys.readouterr().out
    assert "extended   from step 2 to 6; the schedule is that of a run of this length" in output
    rates = {record["step"]: record["learning_rate"] for record in progress.read_metrics(str(workdir))
             if "learning_rate" in record}
    built = model.build(resume.extended(config, 3), tasks.get("embedding"), 4, 16, meshes.make())
    np.testing.assert_allclose([rates[step] for step in (3, 4, 5, 6)], [built.schedule(step) for step in (2, 3, 4, 5)],
                               rtol=1e-6)
    assert stored.read(str(workdir / "config.json")).num_epochs == 3
    spent = goodput.read(str(workdir))
    assert [*spent["marks"]] == ["1", "2", "3", "4", "5", "6"] and spent["starts"] == 2 and "goodput " in output
    assert train.train(config, str(workdir), extend_to_epochs=3) == 0
    assert goodput.read(str(workdir))["ended"] == "finished"
    assert "is finished: 6 steps" in capsys.readouterr().out
    with pytest.raises(ValueError, match="has made 6 steps, and 2 are asked for"):
        train.train(config, str(workdir), extend_to_epochs=1)


def test_a_run_that_failed_before_its_first_step_has_not_claimed_its_folder(started, tmp_path):
    workdir = tmp_path / "run"
    config = config_of(started / "photos", total_steps=1, init_from=str(started / "run"), input__mean=(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match=r"need images of mean .*--config\.input\.mean='\(127\.5"):
        train.train(config, str(workdir))
    config.input.mean = (127.5, 127.5, 127.5)
    config.seed = 5
    assert train.train(config, str(workdir)) == 0
    with pytest.raises(ValueError, match=r"another configuration: seed 5 \(now 6\)"):
        config.seed = 6
        train.train(config, str(workdir))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        resume.check_config(str(tmp_path), tiny.config(tmp_path))


def claimed(tmp_path, config):
    (tmp_path / "config.json").write_text(config.to_json())
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')


def test_how_a_run_is_watched_and_where_its_data_lie_may_change(tmp_path):
    config = tiny.config(tmp_path)
    claimed(tmp_path, config)
    config.run.log_every_steps, config.train_data.path = 7, "elsewhere"
    resume.check_config(str(tmp_path), config)


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    config = tiny.config(tmp_path)
    claimed(tmp_path, config)
    config.seed, config.loss.arcface.margin = 1, 0.2
    with pytest.raises(ValueError, match=r"loss\.arcface\.margin 0\.5 \(now 0\.2\), seed 0 \(now 1\)\."):
        resume.check_config(str(tmp_path), config)


def test_a_field_that_is_newer_than_the_run_has_its_default_there(tmp_path):
    config = tiny.config(tmp_path)
    claimed(tmp_path, config)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["optimizer"]["value_clip"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    resume.check_config(str(tmp_path), config)
    config.optimizer.value_clip = 1.0
    with pytest.raises(ValueError, match=r"another configuration: optimizer\.value_clip 0\.0 \(now 1\.0\)\."):
        resume.check_config(str(tmp_path), config)
