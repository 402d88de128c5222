"""Routes below /studio: one file per area, each `router(desk)`."""
