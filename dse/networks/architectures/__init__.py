"""Architectures of the zoo, one file per family; each can be traced by torch.fx."""
