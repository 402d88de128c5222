"""Pictures with and without an adapter: asked for, drawn, found again, and their settings read back."""
