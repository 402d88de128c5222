"""Builds the embedded base model and the demos from openly licensed packages; nothing here runs for users."""
