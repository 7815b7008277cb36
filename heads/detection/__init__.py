"""Detection: from what a network gives at the points of its levels to boxes with classes and scores."""
