"""Exported networks: a chosen design, or a set of operating points, as arrays and a JSON text that stand alone."""
