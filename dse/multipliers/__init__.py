"""Approximate multipliers as tables: reading, checking, costing and generating them."""
