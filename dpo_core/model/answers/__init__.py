"""Answers of a model to chat prompts: many a prompt, each drawn by random numbers of its own, batched as they come."""
