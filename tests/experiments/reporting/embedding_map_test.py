import json
import re

import numpy as np
import pytest

from geodesic.experiments.reporting import embedding_map

GREY = np.full((20, 16, 3), 128, np.uint8)


def render(count, names=("</script>", "b")):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % len(names)
    page = embedding_map.render(rng.normal(size=(count, 4)).astype(np.float32), labels,
                                [f"folder/{i}.jpg" for i in range(count)], list(names), 0, lambda path: GREY)
    return page, json.loads(re.search(r"const data = (\{.*?\}), sheet", page, re.DOTALL)[1])


def test_every_point_is_there_and_no_name_ends_the_script():
    page, data = render(6)
    assert page.count("</script>") == 1
    assert data["name"][:2] == ["</script>", "b"] and data["path"][5] == "folder/5.jpg"
    assert min(data["x"]) == min(data["y"]) == 0 and max(data["x"]) == max(data["y"]) == 1
    assert "t-SNE of 6 test embeddings." in page and "data:image/jpeg;base64," in page
    assert not re.search(r"@[A-Z]{3,}", page)


@pytest.mark.parametrize("name", ["@DATA", "@SHEET", "<!--<script>", "a$b${sheet}", "\udce9", "quo\"te", "new\nline"])
def test_any_name_is_in_the_page_as_it_is(name):
    page, data = render(6, (name, "b"))
    assert data["name"][:2] == [name, "b"]
    assert page.count("data:image/jpeg;base64,") == 1 and page.count("<script>") == 1 and "<!--<" not in page


def test_many_points_are_a_sample_and_past_five_thousand_pca():
    page, data = render(5001)
    assert "PCA of 5,001 test embeddings; 2,000 of them drawn" in page
    assert len(data["x"]) == 2000 == len(set(data["path"]))
