"""Active learning: which rows a person labels next, and what the labels bought."""
