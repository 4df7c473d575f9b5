"""New pairs from prompts and answers: choice among scored answers, correction, and what is watched over rounds."""
