"""Releases, vectors and engines; knows nothing of HTTP."""
