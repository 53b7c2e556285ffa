"""Memories and networks with memories as plain PyTorch modules, under the module and class names of source 004.

Axes are (batch, time, features), as in ``nn.LSTM(batch_first=True)``. ``docs/memories.md`` gives the meaning, the
equation and the origin of each name.
"""
