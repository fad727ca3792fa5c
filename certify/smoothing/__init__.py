"""Randomized smoothing: what a classifier that votes over noisy copies of its input provably does."""
