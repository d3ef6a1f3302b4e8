"""Tiny models of every family, as fixtures."""

from families import CONFIGS, calibrated, family, family_folder, make_family  # noqa: F401
