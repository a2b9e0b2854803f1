"""Benchmarks: what `make bench` runs. A benchmark is never a timed test."""
