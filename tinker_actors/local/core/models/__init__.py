"""Models: operations accepted, ordered, and done; and what a failure does to those behind it."""
