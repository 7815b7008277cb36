"""Metrics: embeddings [N, D] and integer labels [N] -> numbers. Pure functions."""
