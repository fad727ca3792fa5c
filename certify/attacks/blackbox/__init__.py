"""Attacks that are told scores or decisions alone: no gradients, and a budget of queries per sample."""
