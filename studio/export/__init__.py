"""Verified adapter files for other programs."""
