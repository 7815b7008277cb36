"""A trained model at work, without training data."""
