"""Giving accuracy back: corrections and other weights without training, fine-tuning, operating points."""
