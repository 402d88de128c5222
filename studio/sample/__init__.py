"""Base and adapted pictures from the same noise."""
