"""The session: opened once, kept alive by heartbeats, declared lost when the server forgets it."""
