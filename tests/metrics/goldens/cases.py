"""What the peers and we are asked: embeddings, labels and pairs, seeded; kept in the files beside the answers.

Most have 80 rows of 8 dimensions, so that few programs are compiled.

Quantised rows hold +-1/2 in four dimensions: they have length 1, and their products and squared distances are exact in
float32, so that all rows of a score tie for every implementation alike.
"""

import numpy as np

# Of which every label is odd or even by one bit that float32 does not hold.
LARGE = 2**24


def unit(rows) -> np.ndarray:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def quantised(rng, count: int) -> np.ndarray:
    rows = np.where(rng.random((count, 4)) < 0.5, np.float32(-0.5), np.float32(0.5))
    return np.pad(rows, ((0, 0), (0, 4)))


def near_classes(rng, labels, spread: float = 1.0) -> np.ndarray:
    """Rows around a centre for each label, so that a ranking is neither random nor perfect."""
    _, places = np.unique(labels, return_inverse=True)
    return unit(rng.normal(size=(places.max() + 1, 8))[places] + spread * rng.normal(size=(len(labels), 8)))


def every_row_a_query() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> unit rows and labels."""
    rng = np.random.default_rng(0)
    sizes = np.repeat(np.arange(8), [2, 2, 4, 4, 12, 12, 20, 24])
    rng.shuffle(sizes)
    cases = {"random": (near_classes(rng, sizes), sizes), "ties": (quantised(rng, 80), rng.integers(0, 5, 80))}

    # Each of 20 rows four times, far apart; the copies' labels are only partly the row's own.
    labels = np.arange(80) % 20
    rows = np.tile(near_classes(rng, labels[:20]), (4, 1))
    cases["duplicates"] = rows, np.where(rng.random(80) < 0.3, (labels + 1) % 20, labels)

    labels = np.concatenate([np.repeat(np.arange(11), 4), 20 + np.arange(36)])
    cases["lone"] = near_classes(rng, labels), labels

    # The other row of a class is the opposite of the first: last for each of the two.
    rows = near_classes(rng, np.arange(40))
    cases["last"] = np.stack([rows, -rows], axis=1).reshape(80, 8), np.arange(80) // 2

    cases["one_class"] = near_classes(rng, np.zeros(80, int)), np.full(80, 7)

    # Two classes with one label in float32; the nearest row is always of the other class.
    labels = LARGE + np.arange(80) % 2
    rows = near_classes(rng, np.arange(40))
    cases["large_labels"] = unit(np.repeat(rows, 2, axis=0) + 0.01 * rng.normal(size=(80, 8))), labels

    labels = np.arange(80) % 5
    rows = near_classes(rng, labels)
    cases["nan"] = np.where(np.arange(80)[:, None] == 4, np.float32("nan"), rows), labels
    cases["collapsed"] = np.tile(rows[:1], (80, 1)), np.sort(labels)
    return cases


def query_and_gallery() -> dict[str, tuple[np.ndarray, ...]]:
    """Name -> queries, their labels, gallery, its labels. Labels 7 to 9 are of no gallery row."""
    rng = np.random.default_rng(1)
    query_labels, labels = rng.integers(0, 10, 40), rng.permutation(np.arange(80) % 7)
    rows = near_classes(rng, np.concatenate([query_labels, labels]))
    ties = quantised(rng, 120)
    return {"random": (rows[:40], query_labels, rows[40:], labels),
            "ties": (ties[:40], query_labels, ties[40:], labels)}


def several_labels() -> tuple[np.ndarray, np.ndarray]:
    """Unit rows and multi-hot labels i[80,12], one or two of a row; ten rows have none, and so no match."""
    rng = np.random.default_rng(7)
    labels = np.zeros((80, 12), np.int64)
    labels[np.arange(70), np.arange(70) % 12] = labels[np.arange(70), (np.arange(70) // 12 + 3) % 12] = 1
    return unit(labels @ rng.normal(size=(12, 8)) + rng.normal(size=(80, 8))), labels


def cameras() -> dict[str, np.ndarray]:
    """Queries and a gallery of 10 people by 3 cameras; two have images of one camera alone, others none."""
    rng = np.random.default_rng(8)
    labels = np.concatenate([rng.integers(0, 13, 40), rng.permutation(np.arange(80) % 10)])
    seen = np.where(labels < 2, 0, rng.integers(0, 3, 120))
    rows = near_classes(rng, labels)
    return {"queries": rows[:40], "query_labels": labels[:40], "query_cameras": seen[:40], "rows": rows[40:],
            "labels": labels[40:], "cameras": seen[40:]}


def one_ranking() -> np.ndarray:
    """Relevance bool[1,9] of one query's ranking with R = 4: hit, miss, hit, then nothing until the end."""
    return np.array([[1, 0, 1, 0, 0, 0, 0, 1, 1]], bool)


def distances() -> tuple[np.ndarray, np.ndarray]:
    """Distances f64[150] with many ties, and sameness."""
    rng = np.random.default_rng(2)
    same = rng.random(150) < 0.4
    return np.round(np.abs(rng.normal(size=150) + 1.5 * ~same), 1), same


def clusters() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.integers(0, 6, 70), rng.integers(0, 9, 70)


def probabilities() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> probabilities f32[N,C] and labels. Half of the confidences of "edges" are edges of four bins."""
    rng = np.random.default_rng(4)
    logits = 2 * rng.normal(size=(120, 5))
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    highest = np.array([0.5, 0.625, 0.75, 0.875, 1.0, 0.5])
    edges = np.stack([highest, 1 - highest], axis=1)
    drawn = (rng.random((120, 1)) < soft.cumsum(axis=1)).argmax(axis=1)     # some bins are too sure and some too unsure
    return {"random": (soft.astype(np.float32), drawn),
            "edges": (edges.astype(np.float32), np.array([0, 1, 0, 1, 0, 0]))}


def face_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> embeddings, pair after pair f32[2M,D], and sameness bool[M]."""
    rng = np.random.default_rng(5)

    def pairs(count, spread=0.7):
        first, same = rng.normal(size=(count, 8)), rng.random(count) < 0.5
        second = np.where(same[:, None], first + spread * rng.normal(size=first.shape), rng.normal(size=first.shape))
        return unit(np.stack([first, second], axis=1).reshape(-1, 8)), same

    cases = {"random": pairs(200), "uneven_folds": pairs(203)}
    cases["ties"] = quantised(rng, 400), rng.random(200) < 0.5     # distances 0, 1, 2, 3 and 4: thresholds all
    rows, same = pairs(100)
    cases["one_sided_fold"] = rows, np.where(np.arange(100) < 10, False, same)
    rows, same = pairs(100)
    cases["nan"] = np.where(np.arange(200)[:, None] == 6, np.float32("nan"), rows), same
    cases["collapsed"] = np.tile(rows[:1], (200, 1)), same
    return cases


def template_images() -> dict[str, np.ndarray]:
    """Images of 14 templates of 7 subjects, of up to 3 media, whose numbers recur in other templates."""
    rng = np.random.default_rng(6)
    template = np.sort(rng.permutation(np.concatenate([np.arange(14), rng.integers(0, 14, 66)])))
    centres = rng.normal(size=(7, 6))
    rows, flipped = (4 * (centres[template % 7] + 1.2 * rng.normal(size=(80, 6))) * rng.uniform(0.2, 3, (80, 1))
                     for _ in range(2))
    first, second = np.triu_indices(14, k=1)
    ids = 3 + 5 * rng.permutation(14)
    return {"rows": rows.astype(np.float32), "flipped": flipped.astype(np.float32), "template": ids[template],
            "medium": rng.integers(1, 4, 80), "detector": rng.uniform(0.3, 1, 80).astype(np.float32),
            "first": ids[first], "second": ids[second], "same": first % 7 == second % 7}
