"""Heads: features -> a task's output. Flax Linen modules, trained on top of an embedder."""
