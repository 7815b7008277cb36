"""Files and layouts of other people's weights, and our variables."""
