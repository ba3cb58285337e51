"""Requests: which handler they go to, and their bodies, within bounds."""
