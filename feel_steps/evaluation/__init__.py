"""Measures a run against annotations."""
