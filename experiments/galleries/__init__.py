"""A gallery of pictures that is kept up: rows on disk, bound to the model that embedded them, and searched exactly."""
