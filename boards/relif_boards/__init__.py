"""Boards: platforms and their bitstreams; the simulated board is in `relif_sim`."""
