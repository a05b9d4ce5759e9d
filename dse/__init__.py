"""Design-space exploration of approximate DNN accelerators."""

__version__ = "0.1.0"
