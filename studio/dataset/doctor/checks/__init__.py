"""One file per group of checks; `table.py` one folder up puts them in order."""
