"""Runs as detached processes, seen through their folders."""
