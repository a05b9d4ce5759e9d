"""Plain data per plot, and renderers."""
