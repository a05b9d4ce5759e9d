"""Search spaces and optimizers over assignments."""
