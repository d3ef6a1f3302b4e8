"""New training rows from training rows: one file a method, and what decides which of the new rows are kept."""
