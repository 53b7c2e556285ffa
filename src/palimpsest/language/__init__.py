"""Memory beside language models of the library transformers (source 003)."""
