"""Engines that run lowered SQL and answer with Arrow batches."""
