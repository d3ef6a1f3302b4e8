"""Advice before anything is trained: which students suit data and a budget, and how a model comes to a size."""
