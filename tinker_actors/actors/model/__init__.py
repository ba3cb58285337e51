"""The training actor of one model: its creation, the order of its operations, and what fills gaps in their numbers."""
