"""Direct Preference Optimization, pure: tensors, text and numbers in and out."""
