"""The command line `dpo`: arguments in, a document or a screen out."""
