"""One of two processes that train on images of which two cannot be read: do both know them?

    python -m tests.replaced_images ADDRESS INDEX FOLDER
"""

import sys

from geodesic.experiments.process import runtime


def main(address: str, index: str, folder: str) -> None:
    runtime.start(cpu_devices=1)
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes=2, process_id=int(index))
    from geodesic.experiments.training import data
    from tests.experiments import tiny

    for tolerance in (10.0, 9.0):
        config = tiny.config(folder, invalid_data_tolerance_percent=tolerance)
        batches = data.CountedBatches(data.train_source(config), config)
        try:
            with jax.transfer_guard("disallow"):
                for _ in range(100):
                    next(batches)
            print("state", batches.get_state(), flush=True)
        except ValueError as error:
            print("refused", error, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
