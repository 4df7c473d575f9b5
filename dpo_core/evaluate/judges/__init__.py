"""Judges judged: how far they agree with people, what they lean to; and win rates by those that were admitted."""
