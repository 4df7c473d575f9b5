"""Surface features of answers: words, tokens and neighbours as keys, and the tests of all of them at once."""
