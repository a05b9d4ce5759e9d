"""Runs: journal, resume, execution, and the path from a config to objects."""
