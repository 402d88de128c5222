"""Adaptation methods: one file each behind `base.Method`."""
