"""What a model is asked when it is evaluated: answers, log-probs, and who finds which answers better."""
