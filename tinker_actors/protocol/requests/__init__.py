"""Requests: checked and encoded in the caller's thread."""
