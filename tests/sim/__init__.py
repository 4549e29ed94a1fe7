"""Tests of the virtual loop and the simulated network."""
