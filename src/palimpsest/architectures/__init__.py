"""The former import path of source 004's names; they live in :mod:`palimpsest.faces`."""
