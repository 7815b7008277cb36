import json

import pytest

from geodesic.errors import UserError
from geodesic.experiments.trained import temperature

MODEL = {"checkpoint": "a", "classifier": "b", "input": {"image_size": 16}}


def test_it_comes_back_for_the_same_model_alone(tmp_path):
    folder = str(tmp_path)
    assert temperature.load(folder, MODEL) is None
    temperature.save(folder, MODEL, 1.5, {"images": 12})
    found = temperature.load(folder, MODEL)
    assert found["temperature"] == 1.5 and found["origin"] == {"images": 12}
    with pytest.raises(UserError, match=r"of another model: classifier b there, c here\. Evaluate again"):
        temperature.load(folder, MODEL | {"classifier": "c"})
    with pytest.raises(UserError, match=r"input\.image_size 16 there, 32 here"):
        temperature.load(folder, MODEL | {"input": {"image_size": 32}})


@pytest.mark.parametrize("content", ["[]", "{", "{\"schema\": \"geodesic.thresholds\", \"version\": 1}"])
def test_another_file_is_said(tmp_path, content):
    (tmp_path / "temperature.json").write_text(content)
    with pytest.raises(UserError, match="is no file of geodesic evaluate"):
        temperature.load(str(tmp_path), MODEL)


def test_a_temperature_that_cannot_be_is_refused(tmp_path):
    temperature.save(str(tmp_path), MODEL, 1.0, {})
    stored = json.loads((tmp_path / "temperature.json").read_text())
    (tmp_path / "temperature.json").write_text(json.dumps(stored | {"temperature": -1.0}))
    with pytest.raises(UserError, match="is no file of geodesic evaluate"):
        temperature.load(str(tmp_path), MODEL)
