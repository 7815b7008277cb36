"""States on disk, proven whole."""
