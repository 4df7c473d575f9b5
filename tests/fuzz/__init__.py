"""Seeded mutations of what people bring: models and data files. The make target `fuzz` runs 2,000 of each."""
