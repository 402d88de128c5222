"""Pictures to cached latents, captions to cached text embeddings."""
