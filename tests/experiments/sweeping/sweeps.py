"""A sweep file for the tests, and its text with other values."""

import textwrap


def write(path, margins, seeds=(0, 1), extra="", config="configs/quickstart.py") -> str:
    path.write_text(textwrap.dedent(f"""
        from geodesic.configs import sweeps

        def get_sweep():
            return sweeps.sweep(config={config!r}, axes=[sweeps.grid({{"loss.arcface.margin": {margins!r}}})],
                                seeds={seeds!r}, {extra})
        """))
    return str(path)
