import pathlib
import tracemalloc
import types

import jax
import numpy as np
import pytest

import geodesic
from geodesic.configs import default
from geodesic.embedders import build
from geodesic.experiments import calibrate, verify
from geodesic.experiments.checkpoints import imported
from geodesic.experiments.trained import loading, thresholds
from geodesic.metrics import verification
from tests.experiments import tiny


def clusters(identities=12, each=5, spread=0.4, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, 8))
    values = np.repeat(centres, each, axis=0) + spread * rng.normal(size=(identities * each, 8))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32), np.repeat(
        np.arange(identities), each)


def test_the_threshold_is_the_smallest_that_keeps_the_rate():
    embeddings, labels = clusters(spread=0.9)
    found = thresholds.calibrate(embeddings, labels, 0.01, seed=0)
    scores, same = verification.all_pairs(embeddings, labels)
    accepted = lambda threshold: np.mean(scores[~same] >= threshold)
    assert found.measured_far == accepted(found.threshold) <= 0.01
    assert accepted(scores[scores < found.threshold].max()) > 0.01 or same[scores == scores[
        scores < found.threshold].max()].all()
    assert found.tar == np.mean(scores[same] >= found.threshold)
    assert (found.identities, found.genuine_pairs, found.impostor_pairs) == (12, 120, 1650)
    for value, (low, high) in ((found.threshold, found.threshold_interval), (found.tar, found.tar_interval),
                               (found.measured_far, found.far_interval)):
        assert low <= value <= high and low < high
    assert found == thresholds.calibrate(embeddings, labels, 0.01, seed=0)


@pytest.mark.parametrize(("far", "spread"), [(0.01, 0.9), (0.001, 0.4), (0.3, 0.9)])
def test_many_pairs_are_counted_and_not_held_with_the_same_result(far, spread):
    embeddings, labels = clusters(14, 6, spread)  # fewer than the scores that the held ones are binned at
    held, counted = (thresholds.calibrate(embeddings, labels, far, seed=0, held_pairs=most) for most in (10**9, 0))
    assert counted.sampled == 1 and held[7:] == counted[7:]
    for theirs, ours in zip(held[:7], counted[:7], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_sample_of_the_pairs_says_so_and_is_near(monkeypatch):
    embeddings, labels = clusters(60, 8, 0.9)
    whole = thresholds.calibrate(embeddings, labels, 0.05, seed=0, held_pairs=0)
    monkeypatch.setattr(thresholds, "_SAMPLE", 20_000)
    sample = thresholds.calibrate(embeddings, labels, 0.05, seed=0, held_pairs=0)
    assert sample.sampled == pytest.approx(20_000 / (0.8 * whole.impostor_pairs)) and whole.sampled == 1
    assert sample[:2] == whole[:2] and (sample.measured_far, sample.tar) == (whole.measured_far, whole.tar)
    for theirs, ours in ((whole.tar_interval, sample.tar_interval), (whole.far_interval, sample.far_interval)):
        np.testing.assert_allclose(ours, theirs, rtol=0.05)
    origin = {"name": "image_folder", "path": "", "identities": ["a"]}
    assert "and a sample of the pairs, 0.22 of them" in calibrate.describe(sample, origin)
    assert "sample of the pairs" not in calibrate.describe(whole, origin)


def test_memory_does_not_grow_with_the_pairs(monkeypatch):
    """18 million pairs take 430 MB as scores and rows alone."""
    embeddings, labels = clusters(600, 10, 0.9)
    monkeypatch.setattr(thresholds.bootstrap, "RESAMPLES", 5)
    monkeypatch.setattr(thresholds, "_SAMPLE", 2**14)
    tracemalloc.start()
    found = thresholds.calibrate(embeddings, labels, 0.1, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 250e6 and found.impostor_pairs == 6000 * 5999 // 2 - 600 * 45 and found.sampled < 0.01


def test_a_rate_that_the_pairs_cannot_show_is_refused():
    embeddings, labels = clusters(4, 3)
    with pytest.raises(ValueError, match="54 impostor pairs of 4 identities cannot show"):
        thresholds.calibrate(embeddings, labels, 0.01, seed=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        thresholds.calibrate(embeddings, labels, 0.0, seed=0)
    with pytest.raises(ValueError, match="0 genuine"):
        thresholds.calibrate(embeddings, np.arange(12), 0.1, seed=0)


def test_more_identities_make_narrower_intervals():
    width = lambda identities: np.ptp(thresholds.calibrate(*clusters(identities, 4, 0.9), 0.05, seed=0).tar_interval)
    assert width(40) < width(10)


def test_a_file_keeps_one_threshold_for_each_rate_of_one_model(tmp_path):
    folder, model = str(tmp_path), {"checkpoint": "a", "input": {"image_size": 64}}
    one, two = (thresholds.calibrate(*clusters(), far, seed=0) for far in (0.1, 0.01))
    assert thresholds.load(folder, model) is None
    thresholds.save(folder, model, one, {})
    thresholds.save(folder, model, two, {})
    thresholds.save(folder, model, one, {"again": True})
    assert thresholds.load(folder, model)["far"] == 0.01  # the strictest
    assert thresholds.load(folder, model, 0.1)["origin"] == {"again": True}
    with pytest.raises(ValueError, match=r"no threshold for a false accept rate of 0.5 .* it has 0.1, 0.01"):
        thresholds.load(folder, model, 0.5)
    with pytest.raises(ValueError, match=r"input\.image_size 64 there, 32 here"):
        thresholds.load(folder, model | {"input": {"image_size": 32}})
    thresholds.save(folder, model | {"checkpoint": "b"}, one, {})  # of another checkpoint: the old ones go
    with pytest.raises(ValueError, match="checkpoint b there, a here"):
        thresholds.load(folder, model)
    (tmp_path / "thresholds.json").write_text("[]")
    with pytest.raises(ValueError, match="no file of"):
        thresholds.load(folder, model)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three classes, tested on two, with three more to calibrate on."""
    folder = tmp_path_factory.mktemp("calibrated")
    config = tiny.config(tiny.faces(folder / "faces", 8, 4), train_data__classes=(0, 3), test_data__classes=(3, 5),
                         total_steps=1)
    geodesic.train(config, folder / "run")
    return config, str(folder / "run"), folder / "faces"


def calibrated(run, **changes):
    config, folder, faces = run
    values = dict(workdir=folder, far=0.1, source="image_folder", data=str(faces), classes=["5", "8"],
                  other_identities=False)
    calibrate.main(config, types.SimpleNamespace(**values | changes))


def test_calibrate_refuses_what_has_been_used(run):
    with pytest.raises(ValueError, match="8 of the 24 calibration images are trained on"):
        calibrated(run, classes=["1", "7"])
    with pytest.raises(ValueError, match="4 of the 16 calibration images are reported by evaluate"):
        calibrated(run, classes=["4", "8"])
    with pytest.raises(ValueError, match="no identities to calibrate on"):
        calibrated(run, source="", data="")
    with pytest.raises(ValueError, match="START,STOP"):
        calibrated(run, classes=["five"])


def test_imported_weights_have_not_seen_the_data_of_the_default_configuration(tmp_path, capsys):
    made = tiny.config(train_data=default.get_config().train_data, test_data=default.get_config().test_data)
    variables = jax.device_get(build("tiny", embedding_size=16).init(jax.random.key(0), np.zeros((1, 16, 16, 3))))
    imported.save(str(tmp_path), made, variables, {})
    values = dict(workdir=str(tmp_path), far=0.1, source="orl_faces", data="", classes=["0", "5"],
                  other_identities=False)
    calibrate.main(loading.stored_config(str(tmp_path)), types.SimpleNamespace(**values))
    assert "on 5 identities of orl_faces : s1, s2, s3, s4, s5" in capsys.readouterr().out
    given = tiny.changed(loading.stored_config(str(tmp_path)), test_data__classes=(4, 40))
    with pytest.raises(ValueError, match="10 of the 50 calibration images are reported by evaluate"):
        calibrate.main(given, types.SimpleNamespace(**values))


def test_calibrate_then_verify(run, capsys):
    config, folder, faces = run
    images = sorted(str(path) for path in (faces / "class6").iterdir())
    flags = types.SimpleNamespace(workdir=folder, far=0.0)
    calibrated(run)
    assert "3 identities of image_folder" in capsys.readouterr().out
    assert verify.main(config, flags, [images[0], images[0]]) == verify.SAME
    assert "cosine 1.0000" in capsys.readouterr().out
    other = sorted(str(path) for path in (faces / "class7").iterdir())[0]
    status = verify.main(config, flags, [images[0], other])
    assert capsys.readouterr().out.startswith("same" if status == verify.SAME else "different")
    with pytest.raises(ValueError, match="takes two images; got 1"):
        verify.main(config, flags, images[:1])
    broken = faces.parent / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(ValueError, match="cannot read"):
        verify.main(config, flags, [images[0], str(broken)])


def test_verify_refuses_another_checkpoints_threshold(run):
    config, folder, faces = run
    calibrated(run)
    stored, name = pathlib.Path(thresholds.path(folder)), str(next((faces / "class5").iterdir()))
    stored.write_text(stored.read_text().replace('"step": 1', '"step": 2'))
    with pytest.raises(ValueError, match="step 2 there, 1 here"):
        verify.main(config, types.SimpleNamespace(workdir=folder, far=0.0), [name, name])
