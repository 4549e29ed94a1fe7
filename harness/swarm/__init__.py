"""Swarm testing: whole scenarios drawn at random, one simulation each, every checker on, every failure made small."""
