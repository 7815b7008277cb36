import numpy as np

from geodesic import heads
from tests.heads import goldens


def test_it_is_pytorchs():
    given = goldens.of("conv")
    params = {f"stage4_conv{place}": {"kernel": given[f"{name}.weight"].transpose(2, 3, 1, 0),
                                      "bias": given[f"{name}.bias"]} for place, name in ((1, "0"), (2, "2"))}
    found = heads.build("conv", channels=(7, 4)).apply({"params": params}, goldens.LAYERS)
    np.testing.assert_allclose(found, given["features"], rtol=1e-4, atol=1e-6)
