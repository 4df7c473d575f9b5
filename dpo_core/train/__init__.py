"""DPO training: losses, batches, the loop, checkpoints."""
