"""The part of the evaluation that needs a model."""
