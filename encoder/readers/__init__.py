"""One reader per file layout."""
