"""How much error each layer takes, and what a multiplier's error does to a layer."""
