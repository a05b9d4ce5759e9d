"""Energy of assignments on accelerators."""
