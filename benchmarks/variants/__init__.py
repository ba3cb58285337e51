"""Variants: ways to make the same samples. Each is a module whose `Client` is measured in a process of its own."""
