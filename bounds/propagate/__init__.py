"""Bound propagation: facts of every node going forward, rows of linear forms going back."""
