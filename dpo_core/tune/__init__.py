"""A search for better settings: what is tried, for how long, and which of what was found is to be trusted."""
