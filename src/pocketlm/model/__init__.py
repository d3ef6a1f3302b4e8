"""Modules that are trained: teachers, students, and how they are found and described."""
