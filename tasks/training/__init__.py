"""The training process and its checkpoints."""
