"""Measures of what an adaptation did."""
