"""Spectra to vectors; knows nothing of HTTP, SQL or FAISS."""
