"""Readers of multiplier tables, one file a format."""
