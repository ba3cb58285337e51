"""Codec: what is said, as bytes, in both dialects."""
