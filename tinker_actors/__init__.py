"""A pykka-based client runtime for the Tinker API."""
