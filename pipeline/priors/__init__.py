"""Priors: trained generators with the code layers that they invert."""
