"""Tiny models of every family, as fixtures."""

from families import family_folder  # noqa: F401
