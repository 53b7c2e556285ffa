"""Measurements of trained runs: test metrics under every control, and what the memory does on a probe batch."""
