"""The dataset doctor: what is wrong with pictures and captions, how much it matters, and what mends it."""
