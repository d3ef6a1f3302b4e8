"""Rows from files, folders, hubs and generators; columns found, splits made without leaks."""
