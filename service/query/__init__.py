"""The one way every question takes: parse, check, resolve, plan, lower, run."""
