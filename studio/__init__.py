"""Domain Studio: adapt a pretrained diffusion model to a small domain, and prove what the adaptation did."""

__version__ = "0.1.0"
