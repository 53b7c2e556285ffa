"""palimpsest asks whether networks learn what to write, what to keep and what to forget."""

__version__ = "0.1.0"
