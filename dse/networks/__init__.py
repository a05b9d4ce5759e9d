"""Networks: the layer table, conversion to integers, and the zoo."""
