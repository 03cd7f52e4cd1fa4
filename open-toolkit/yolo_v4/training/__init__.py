"""Training: loss, learning rate, loop, checkpoints."""
