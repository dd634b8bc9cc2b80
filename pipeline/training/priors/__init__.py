"""Training priors: a generator against a network's layers and a discriminator, measured and written as a folder."""
