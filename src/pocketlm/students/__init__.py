"""Passes: model to model, one file a method."""
