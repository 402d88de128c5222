"""Readers of scans, scenes and tables: one file per format behind `base.Reader`."""
