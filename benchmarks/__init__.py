"""Benchmarks: each runs its peer and its floor beside it, in the same run."""
