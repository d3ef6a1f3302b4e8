"""Recipes as data, and the only code that knows the order of their steps."""
