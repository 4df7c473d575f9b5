"""What is watched while a model learns from its own answers."""
