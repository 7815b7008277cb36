"""The twenty runs of one-shot classification that Lake et al. published figures for: drawings fixed, not drawn by lot.

Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program induction, Science 2015. A
run is twenty characters of one alphabet, each drawn once by one person and once by another; there are two runs of each
of ten alphabets. Omniglot's repository has them as copies of images without their names. Which drawings they are was
found by github.com/jvlmdr/omniglot-eval, by checksum. That they are the same: the modified Hausdorff distance errs on
them as often as Omniglot's repository says (`python -m benchmarks.lake_runs`).
"""

import numpy as np

from geodesic.errors import UserError

# Alphabet of the evaluation set -> its characters, and (who drew the twenty that are known, who those that are asked)
# of each run. Numbers are those of Omniglot's files, from 1.
RUNS = {
    "Atlantean": ((1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 14, 16, 19, 20, 21, 22, 23, 24, 25, 26), ((5, 8), (3, 2))),
    "Ge_ez": ((1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 14, 15, 16, 17, 18, 20, 21, 23, 24, 25), ((3, 7), (4, 2))),
    "Glagolitic": ((1, 2, 3, 5, 6, 7, 14, 17, 18, 19, 20, 21, 26, 28, 31, 34, 36, 37, 40, 43), ((6, 4), (3, 2))),
    "Gurmukhi": ((3, 6, 7, 8, 9, 13, 14, 15, 16, 17, 22, 25, 26, 29, 31, 32, 33, 38, 43, 44), ((5, 2), (8, 3))),
    "Kannada": ((1, 3, 5, 8, 11, 12, 13, 14, 19, 20, 21, 23, 25, 26, 27, 28, 33, 35, 40, 41), ((2, 1), (8, 3))),
    "Malayalam": ((2, 4, 5, 9, 13, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 29, 30, 37, 43, 46), ((3, 7), (4, 2))),
    "Manipuri": ((3, 4, 6, 8, 9, 11, 12, 13, 15, 17, 19, 21, 22, 25, 29, 33, 35, 36, 37, 39), ((8, 4), (7, 3))),
    "Old_Church_Slavonic_(Cyrillic)": (
        (2, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 23, 24, 25, 30, 33, 41, 44, 45), ((4, 8), (1, 2))),
    "Tengwar": ((1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13, 16, 18, 19, 20, 21, 22, 23, 24, 25), ((1, 4), (8, 7))),
    "Tibetan": ((1, 2, 3, 5, 6, 7, 8, 9, 11, 13, 14, 15, 21, 22, 24, 33, 35, 36, 38, 41), ((1, 3), (8, 5))),
}


def rows(labels: np.ndarray, drawer: np.ndarray, class_names: list[str]) -> list[np.ndarray]:
    """Finds each run's drawings: i[2,20], the rows of those that are asked and of those that are known, in one order.

    labels i[N] point into class_names, which are SET/ALPHABET/characterNN; drawer i[N], from 0. Raises UserError where
    a drawing is missing.
    """
    number = {tuple(name.split("/")[1:]): label for label, name in enumerate(class_names)}
    row = {place: index for index, place in enumerate(zip(labels.tolist(), drawer.tolist(), strict=True))}

    def find(alphabet: str, character: int, person: int) -> int:
        found = row.get((number.get((alphabet, f"character{character:02}")), person - 1))
        if found is None:
            raise UserError(f"the runs of Lake et al. need drawing {person} of {alphabet}/character{character:02}, "
                            "which is not in these images: give the whole of Omniglot")
        return found

    return [np.array([[find(alphabet, character, person) for character in characters] for person in (asked, known)])
            for alphabet, (characters, pairs) in RUNS.items() for known, asked in pairs]
