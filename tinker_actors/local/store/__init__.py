"""Stores: where checkpoints are kept, in memory or as files."""
