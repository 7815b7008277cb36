"""Forms that XLA:CPU needs and accelerators do not."""
