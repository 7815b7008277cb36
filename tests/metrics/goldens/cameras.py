"""Re-identification by torchreid's rank.py, which is read from a file and run, never copied."""

import importlib.util
import pathlib

import numpy as np

from tests.metrics.goldens import cases


def results(script: pathlib.Path) -> dict:
    """Market-1501's CMC up to rank 20 and mAP: gallery rows of the query's own label and camera are left out."""
    spec = importlib.util.spec_from_file_location("peer_rank", script)
    peer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)
    given = cases.cameras()
    distances = 1 - given["queries"].astype(np.float64) @ given["rows"].astype(np.float64).T
    cmc, mean_ap = peer.evaluate_rank(distances, given["query_labels"], given["labels"], given["query_cameras"],
                                      given["cameras"], max_rank=20, use_cython=False)
    return given | {"versions": np.array(["torchreid 0.2.5", f"numpy {np.__version__}"]), "torchreid/cmc": cmc,
                    "torchreid/map": np.array(mean_ap)}
