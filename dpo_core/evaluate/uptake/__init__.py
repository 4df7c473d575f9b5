"""Whether a model learned the shortcuts of its data: what an answer is worth with one, and without it."""
