"""Runs side by side: their facts, their pictures, and the same as a file."""
