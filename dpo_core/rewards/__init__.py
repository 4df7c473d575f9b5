"""What an answer is worth: rules that a program decides, classifiers, judges, a function of the user's own."""
