"""Writers of results and of spectra."""
