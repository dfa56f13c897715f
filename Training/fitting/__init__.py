"""From cases to weights: patches, losses, steps, checkpoints, logs."""
