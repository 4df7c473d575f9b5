"""What is read off a text: words, language, form, refusals, personal data."""
