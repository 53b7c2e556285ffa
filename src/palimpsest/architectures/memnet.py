"""The import path of :mod:`palimpsest.faces.memnet` beside the other names."""

from palimpsest.faces.memnet import MemNet as MemNet
from palimpsest.faces.memnet import MultiHeadMemoryBank as MultiHeadMemoryBank
from palimpsest.faces.memnet import TransformerController as TransformerController
