"""Stores: where everything that outlives a server is kept, in memory or on disk."""
