"""Actors: the Tinker workers.

Each is a state machine that never blocks: a message in, a decision by the rules of `protocol`, messages out. What they
send goes through a lane. `tree.py` lists what runs and why in that order; `messages.py` says what they tell each other.
"""
