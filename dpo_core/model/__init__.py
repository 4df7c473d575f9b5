"""A causal language model: load it, encode pairs for it, score and generate with it."""
