"""A sweep file for the tests, and its text with other values."""

import textwrap
import types


def write(path, margins, seeds=(0, 1), extra="", config="configs/quickstart.py") -> str:
    path.write_text(textwrap.dedent(f"""
        from geodesic.configs import sweeps

        def get_sweep():
            return sweeps.sweep(config={config!r}, axes=[sweeps.grid({{"loss.arcface.margin": {margins!r}}})],
                                seeds={seeds!r}, {extra})
        """))
    return str(path)


def flags(tmp_path, path, **changes) -> types.SimpleNamespace:
    """Of `geodesic sweep` and `geodesic sweep_report`, as if they had been given."""
    given = {"sweep": path, "workdir": str(tmp_path / "runs"), "dry_run": False, "workers": 1, "trial_memory_gib": 0.0,
             "trial": -1, "launcher": "local", "slurm": [], "storage": "", "watch": False, "out": "", "baseline": "",
             "changed": False}
    return types.SimpleNamespace(**given | changes)
