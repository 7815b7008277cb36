import numpy as np
import pytest

from geodesic import datasets
from geodesic.errors import UserError
from geodesic.experiments.reporting import views
from tests.experiments import tiny

TITLE, SIDE = 16, 128


def test_the_sheet_shows_the_first_examples_as_a_run_has_them(tmp_path):
    """Three batches of 16 fill it, in their order; the classes of mixed ones stand above with their shares."""
    config = tiny.config(tiny.faces(tmp_path / "faces"), batch_size=16, augment__mixup_alpha=1.0,
                         augment__rand_augment_ops=2)
    config.input.image_size = SIDE
    source = datasets.build("image_folder", path=config.train_data.path)
    sheet = views.draw(config, source)
    assert sheet.shape == (6 * (SIDE + TITLE), 8 * SIDE, 3)
    batches = datasets.train_batches(source, input=config.input, augment=config.augment, sampling=config.sampling,
                                     batch_size=16, seed=config.seed, process_index=0, process_count=1)
    shown = np.concatenate([next(batches)["image"] for _ in range(3)])
    batches.close()
    for place, image in enumerate(shown):
        row, column = divmod(place, 8)
        top, left = row * (SIDE + TITLE), column * SIDE
        np.testing.assert_array_equal(sheet[top + TITLE:top + TITLE + SIDE, left:left + SIDE], image)
        assert (sheet[top:top + TITLE, left:left + SIDE] < 128).any()  # something is written


def test_titles():
    names = ["a_class_with_a_name_that_is_long", "pear", "grün"]
    example = {"label": 0, "other_label": 1}
    assert views._title({"label": 0}, names) == "a_class_with_a_name_th"
    assert views._title(example | {"label_weight": np.float32(0.25)}, names) == "0.25 a_class_ 0.75 pear"
    assert views._title({"label": 2, "other_label": 1, "label_weight": np.float32(1)}, names) == "gr?n"


def test_a_section_that_cannot_be_followed_is_refused(tmp_path):
    config = tiny.config(tiny.faces(tmp_path / "faces"), augment__augmix_severity=11)
    with pytest.raises(UserError, match="augmix_severity is 0 to 10; got 11"):
        views.draw(config, datasets.build("image_folder", path=config.train_data.path))
