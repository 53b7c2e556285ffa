"""Memories and networks with memories as plain PyTorch modules, by the names and modules of source 004.

Axes are (batch, time, features), as in ``nn.LSTM(batch_first=True)``. What each name means, its equation and where it
comes from stands in ``docs/memories.md``.
"""
