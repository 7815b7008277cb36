import pathlib

import numpy as np

SIZES = {"train": 255, "val": 73, "test": 36}


def test_the_lists_are_drawn_as_the_page_says():
    lists = {part: [line for line in pathlib.Path(f"configs/bccd_lists/{part}.txt").read_text().splitlines()
                    if not line.startswith("#")] for part in SIZES}
    assert {part: len(names) for part, names in lists.items()} == SIZES
    names = sorted(name for part in lists.values() for name in part)
    assert len({*names}) == 364
    drawn = iter(np.random.default_rng(0).permutation(364).tolist())
    for part, size in SIZES.items():
        assert lists[part] == sorted(names[next(drawn)] for _ in range(size))
