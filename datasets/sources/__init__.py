"""One file for each source or format of images."""
