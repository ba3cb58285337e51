"""The engines that are measured, each a program of its own; they share nothing but numbers in files."""
