import pytest

from geodesic.experiments.training import data
from tests.experiments import tiny


@pytest.fixture
def damaged(tmp_path):
    """20 images of 5 classes, two of which cannot be read."""
    folder = tiny.faces(tmp_path / "faces")
    bad = [folder / "class1" / "2.jpg", folder / "class3" / "0.jpg"]
    for path in bad:
        path.write_bytes(path.read_bytes()[:100])
    return folder, bad


def batches(config):
    return data.CountedBatches(data.train_source(config), config)


def test_replaced_images_are_named_once_counted_and_remembered(damaged, capsys):
    folder, bad = damaged
    config = tiny.config(folder, invalid_data_tolerance_percent=10.0)
    made = batches(config)
    for _ in range(10):  # four epochs
        assert {*next(made)} == {"image", "label"}
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("replaced in the training")]
    assert len(lines) == 2 and all(any(str(path) in line for line in lines) for path in bad)
    state = made.get_state()
    assert state == {"step": 10, "bad": [6, 12]}
    resumed = batches(config)
    resumed.set_state(state)
    next(resumed)
    assert "replaced" not in capsys.readouterr().out  # known already
    assert len(resumed.bad_images()) == 2 and resumed.get_state()["step"] == 11


def test_past_the_tolerance_the_run_stops_with_the_list(damaged):
    folder, bad = damaged
    made = batches(tiny.config(folder, invalid_data_tolerance_percent=9.0))
    with pytest.raises(ValueError, match="2 of 20 training images cannot be read, more than") as error:
        for _ in range(10):
            next(made)
    assert all(str(path) in str(error.value) for path in bad)


def test_what_was_bad_before_a_resume_counts(damaged):
    folder, _ = damaged
    config = tiny.config(folder, invalid_data_tolerance_percent=9.0)
    made = batches(config)
    made.set_state({"step": 0, "bad": [0]})  # one more than those two: any of them is too many
    with pytest.raises(ValueError, match="2 of 20 training images"):
        for _ in range(10):
            next(made)


def test_without_tolerance_the_first_bad_image_stops_the_run(damaged):
    with pytest.raises(ValueError, match=r"cannot read the image .*\.jpg"):
        made = batches(tiny.config(damaged[0]))
        for _ in range(3):
            next(made)


def test_folds_come_from_the_configuration(tmp_path):
    folder = tiny.faces(tmp_path)
    config = tiny.config(folder, train_data__folds=2, test_data__folds=2, test_data__part="validation")
    train, test = data.train_source(config), data.test_source(config)
    assert (train.class_names, test.class_names) == (["class3", "class4"], ["class0", "class1", "class2"])
    assert data.describe(config.test_data).endswith("validation of fold 0 of 2")
