"""Which prompts are the same, or ask nearly the same."""
