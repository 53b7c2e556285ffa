"""Memories and networks with memories as plain PyTorch modules, under the names of sources 002 (MemNet) and 004.

Axes are (batch, time, features), as in ``nn.LSTM(batch_first=True)``; ``MemNet`` takes tokens (batch, time).
``docs/memories.md`` gives the meaning, the equation and the origin of each name.
"""
