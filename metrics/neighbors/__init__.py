"""Exact nearest neighbours: nearest.py is the public file, the others are its back ends."""
