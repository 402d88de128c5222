"""One loop for every family and method; step is its only clock."""
