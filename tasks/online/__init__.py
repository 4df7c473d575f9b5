"""A training on the model's own answers: its plan, its prompts, the drawings, and what is kept of them."""
