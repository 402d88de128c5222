"""A plain folder of pictures and captions: read once, checked once, split once."""
