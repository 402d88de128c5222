"""Captioners: one file each behind `base.Captioner`."""
