"""Replies: what an answer means, and what of it is worth being believed."""
