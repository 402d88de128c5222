"""Base-model families: one file each behind `base.Family`."""
