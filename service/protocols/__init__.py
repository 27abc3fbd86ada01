"""VO protocols: thin handlers that parse, call and answer."""
