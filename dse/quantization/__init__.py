"""8-bit affine quantization and calibration."""
