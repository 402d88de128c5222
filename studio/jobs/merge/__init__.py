"""Adapters merged: into their base, with each other, or to a smaller rank; each result compared before it is kept."""
