"""A run's adapter as files for other programs: asked for, written, read back, compared, offered."""
