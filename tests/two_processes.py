"""One of two processes of 4 devices each: every loss on all 8, against the same without a mesh.

    python -m tests.two_processes ADDRESS INDEX [NAMES]      of the coordinator, 0 or 1, and of losses (default: all)
"""

import sys

from geodesic.experiments.process import runtime


def main(address: str, index: str, *names: str) -> None:
    runtime.start(cpu_devices=4)
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes=2, process_id=int(index))
    import numpy as np
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from geodesic import losses
    from geodesic.experiments.process import mesh as meshes
    from tests.losses import cases

    mesh = meshes.make()
    assert mesh.size == 8 and len(jax.local_devices()) == 4
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())

    def place(values, sharding):
        values = np.asarray(values)
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    for name in names or sorted(losses.LOSSES):
        embeddings, labels = cases.batch()
        results = []
        for loss, put in ((losses.build(name, num_classes=cases.CLASSES), lambda values, sharding: values),
                          (losses.build(name, num_classes=cases.CLASSES, mesh=mesh), place)):
            params, state = jax.tree.map(np.asarray, loss.init(jax.random.key(0), cases.SIZE))

            def value(params, embeddings, state, labels, loss=loss):
                return loss.apply(params, state, embeddings, labels, jax.random.key(7))[0]

            everywhere = {"out_shardings": whole} if put is place else {}
            step = cases.jit(jax.value_and_grad(value, argnums=(0, 1)), **everywhere)
            found, (params, x) = step(jax.tree.map(lambda p, put=put: put(p, split), params), put(embeddings, split),
                                      jax.tree.map(lambda s, put=put: put(s, whole), state), put(labels, split))
            results.append((np.asarray(found), cases.real_classes(params), np.asarray(x)))
        difference = cases.relative_difference(results[1], results[0])
        print(f"{name} {difference:.1e}", flush=True)
        assert difference < (5e-6 if name in ("recall_at_k", "smooth_ap") else 1e-6), name


if __name__ == "__main__":
    main(*sys.argv[1:])
