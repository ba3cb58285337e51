"""Limits: how much is sent, how often, how soon again, and who goes first."""
