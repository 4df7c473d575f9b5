"""Preference pairs: the normalised row, the formats it is read from, and splits."""
