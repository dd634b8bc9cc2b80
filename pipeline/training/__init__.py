"""Training the networks and generators that the project ships."""
