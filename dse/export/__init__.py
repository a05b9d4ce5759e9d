"""Export: a chosen design, or a set of operating points, as plain arrays and a JSON text that stand alone."""
