"""Priors: trained generators, each with the layer whose codes it turns into images."""
