"""Benchmarks of the toolkit beside its peers: ``python -m benchmarks SUITE`` writes one table per suite."""
