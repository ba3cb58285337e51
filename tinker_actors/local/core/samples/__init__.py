"""Samples: samplers, and what is drawn from them."""
