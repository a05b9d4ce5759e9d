"""Bit-exact integer simulation through multiplier tables."""
