"""Which recipes are tried, and which one is chosen."""
