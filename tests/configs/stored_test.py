import json

import pytest

from geodesic.configs import default, grocery, omniglot, quickstart, stored
from geodesic.configs.templates import inception_batch_norm, resnet_angular_margin, resnext

# What each configuration was called before anything was added to it or renamed.
HASHES = {default: "c0b4c3e6ac33", quickstart: "1bedbe98990e", omniglot: "51ae39c852bc", grocery: "107b8d2c3bb8",
          resnet_angular_margin: "2896c3580121", inception_batch_norm: "520bcbcf04a9", resnext: "00fab2703926"}


def write(path, values) -> str:
    path.write_text(json.dumps(values))
    return str(path)


@pytest.mark.parametrize("module", HASHES, ids=lambda module: module.__name__)
def test_a_configuration_keeps_its_hash(module):
    assert stored.hash_of(module.get_config()) == HASHES[module], (
        "runs, sweeps and records that exist go by this hash: list a new field in ADDED of configs/default.py, a "
        "renamed one in RENAMED of configs/stored.py; write the new hash here only where a recipe is another one")


def test_the_hash_names_what_decides_the_result():
    config = default.get_config()
    first = stored.hash_of(config)
    config.run.checkpoint_every_steps = 1
    assert stored.hash_of(config) == first
    config.optimizer.momentum = 0.8
    assert stored.hash_of(config) != first


@pytest.mark.parametrize("added", ["optimizer.value_clip", "optimizer"])
def test_an_added_field_counts_once_it_is_used(monkeypatch, added):
    config = default.get_config()
    without = {key: value for key, value in stored.as_dict(config).items() if key != "run"}
    without["optimizer"] = {key: value for key, value in without["optimizer"].items() if key != "value_clip"}
    monkeypatch.setattr(default, "ADDED", (added,))
    monkeypatch.setattr(stored, "RENAMED", {})
    if added == "optimizer":
        del without["optimizer"]
    assert stored.hash_of(config) == stored.hash_of_values(without)
    config.optimizer.value_clip = 1.0
    assert stored.hash_of(config) == stored.hash_of_values(
        without | {"optimizer": without.get("optimizer", {}) | {"value_clip": 1.0}})


def test_what_was_renamed_is_read_under_both_names_and_hashed_under_the_old_one(monkeypatch, tmp_path):
    """As if configs/default.py of an older version had had optimizer.clip, and the section loss.arc."""
    monkeypatch.setattr(stored, "RENAMED", {"optimizer.clip": "optimizer.value_clip", "loss.arc": "loss.arcface"})
    monkeypatch.setattr(stored, "RENAMED_VALUES", {"loss.name": {"arc": "arcface"}})
    monkeypatch.setattr(default, "ADDED", ())
    config = default.get_config()
    config.optimizer.value_clip, config.loss.arcface.margin = 2.0, 0.25
    old = stored.as_dict(config)
    old["optimizer"]["clip"] = old["optimizer"].pop("value_clip")
    old["loss"] |= {"arc": old["loss"].pop("arcface"), "name": "arc"}
    assert stored.read(write(tmp_path / "old.json", old)) == config
    assert stored.read(write(tmp_path / "new.json", stored.as_dict(config))) == config
    del old["run"]
    assert stored.hash_of(config) == stored.hash_of_values(old)


def test_a_run_from_before_the_names_changed_is_the_same_run(tmp_path):
    old = {"loss": {"name": "margin", "margin": {"beta": 1.5}, "combine": {"margin": 0.5}},
           "optimizer": {"trunk_clip_norm": 5.0}}
    config = stored.read(write(tmp_path / "config.json", old))
    assert (config.loss.name, config.loss.margin_pairs.beta, config.loss.combine.margin_pairs) == (
        "margin_pairs", 1.5, 0.5)
    assert config.optimizer.embedder_clip_norm == 5.0
    assert stored.hash_of(config) == "e2db43b968d1"  # what that version called it


def test_fields_newer_than_the_file_have_their_defaults(tmp_path):
    values = stored.as_dict(default.get_config()) | {"seed": 5}
    del values["optimizer"]["momentum"], values["evaluation"], values["run"]["keep_best"]
    config = default.get_config()
    config.seed = 5
    assert stored.read(write(tmp_path / "config.json", values)) == config
    assert stored.get_config(str(tmp_path / "config.json")) == config


@pytest.mark.parametrize(("values", "message"), [
    ({"gone": 1}, "written by another version of this code: .*gone"),
    ({"optimizer": {"gone": 1}}, "another version"), ({"gone": {"momentum": 1}}, "another version"),
    ({"seed": {"a": 1}}, "another version"), ({"seed": "first"}, "another version"),
    ({"loss": {"name": ["arcface"]}}, "another version"), ([1], "damaged: it holds a list")])
def test_a_file_that_no_version_wrote(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        stored.read(write(tmp_path / "config.json", values))


def test_a_file_cut_short(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": ')
    with pytest.raises(ValueError, match=r"config\.json is damaged: "):
        stored.read(str(tmp_path / "config.json"))


def test_the_fields_in_which_two_configurations_differ():
    one, other = default.get_config(), default.get_config()
    other.run.log_every_steps, other.train_data.path, other.test_data.path = 7, "here", "there"
    other.calibration_data.path = "and there"
    assert stored.differing(one, other) == {}
    other.seed, other.embedder.layer, other.train_data.classes = 1, "stage3", (0, 9)
    assert stored.differing(one, other) == {
        "embedder.layer": (None, "stage3"), "seed": (0, 1), "train_data.classes": ([0, 0], [0, 9])}


def test_a_neck_that_an_older_version_has_ignored_is_none():
    def read(size, neck):
        return stored.from_dict({"embedder": {"embedding_size": size, "neck": neck}}, "a run").embedder.neck

    assert read(0, "bn_fc_bn") is None
    assert read(0, "none") == "none" and read(8, "bn_fc_bn") == "bn_fc_bn"
