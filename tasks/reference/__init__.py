"""Reference log-probs: where they are kept, and the devices that score."""
