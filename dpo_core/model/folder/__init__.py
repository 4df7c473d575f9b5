"""A model folder looked at before anything of it is built: files, headers, sizes, tokens, templates."""
