"""Predictions of a Pocket over HTTP."""
