"""Training the small classifiers that the project ships: for drawings and for photos."""
