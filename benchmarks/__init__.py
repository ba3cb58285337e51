"""Benchmarks: what the client costs beside other ways to make the same requests, in one run, on one machine."""
