"""Checkpoints: saved, loaded, copied, and handed out as archives."""
