"""Tasks of lm-eval, EleutherAI's lm-evaluation-harness, through its package: found, named by content, asked."""
