"""Measurements of speed and memory; `python -m bench --help` lists them. Nothing here asserts a time."""
