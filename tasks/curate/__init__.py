"""A curation's tasks: plan, gather prompts, answer them, make pairs, check them, store them as a data set version."""
