"""Runs as folders on disk: made, found, renamed, and what their files tell of how they go and how they went."""
