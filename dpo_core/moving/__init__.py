"""Moving in: jobs and configs of OpenAI, TRL, axolotl and LLaMA-Factory become the values of a recipe, line by line."""
