"""`dpo tune`: the tuning split, trials of a study, what they measure, the recommendation."""
