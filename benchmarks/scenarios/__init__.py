"""Scenarios: each compares variants on one workload, checks that they did the same work, and reports."""
