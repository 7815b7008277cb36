"""Geodesic: visual embeddings trained with angular margins, in JAX and Flax."""
