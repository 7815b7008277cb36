"""Exact nearest neighbours: nearest.py is the public file, on_devices.py, on_host.py and screen.py its back ends."""
