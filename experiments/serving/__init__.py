"""A gallery over HTTP: what a request may be, pictures that are embedded together, and the page (the extra `serve`)."""
