"""Operations that XLA:CPU is slow at, in other forms; accelerators get XLA's own.

    backend.name()                 for which backend a network is traced
    convolution.convolve(...)      a convolution, grouped or not
    pools.max_pool(...)            a pool; GPUs get the same form of the max-pool as CPUs do
"""
