"""Great Expectations: our own rules, and the project that runs them."""
