"""Clients: what users hold.

Each is a thin handle on an actor. A method checks and encodes its arguments in the caller's thread, tells the actor or
hands the request to a lane, and returns a future at once.
"""
