"""Boards: platforms and their bitstreams. Empty so far; the simulated board is in `relif_sim`."""
