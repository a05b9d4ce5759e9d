"""For tests, ours and those of plug-in authors."""
