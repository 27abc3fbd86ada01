"""How good an embedding is, measured on held-out objects."""
