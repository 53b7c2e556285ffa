"""Language models that see one segment of a text at a time: how a text is cut, and what is carried between calls."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from palimpsest.layers.decoder import Decoder
from palimpsest.layers.transformer import causal_window

Tokens = Int[Tensor, "runs batch time"]
Features = Float[Tensor, "runs batch time width"]
Parts = Float[Tensor, "runs batch_parts window width"]


def parted(x: Features, window: int) -> Parts:
    """Cut texts into segments of ``window`` tokens, side by side on the batch axis; zeros fill the last one."""
    x = F.pad(x, (0, 0, 0, -x.shape[2] % window))
    return x.unflatten(2, (-1, window)).flatten(1, 2)


def joined(x: Parts, batch: int, time: int) -> Features:
    """Put the segments of each text together again, and leave out what filled the last one."""
    return x.unflatten(1, (batch, -1)).flatten(2, 3)[:, :, :time]


def open_part(x: Tensor, window: int) -> Tensor:
    """What belongs to the segment that is not complete; time is the third axis."""
    return x[:, :, x.shape[2] - x.shape[2] % window :]


class Segmented:
    """Runs a decoder on every segment of a text by itself.

    Args:
        base: the decoder; its window is the length of a segment.
    """

    def __init__(self, base: Decoder) -> None:
        self.base, self.window = base, base.config.window

    def embed(self, inputs: Tokens) -> Features:
        """Features of tokens before the first block; the position counts from the beginning of the segment."""
        places = torch.arange(inputs.shape[2], device=inputs.device) % self.window
        return self.base.embed(inputs, places)

    def through(self, x: Features, blocks: slice) -> Features:
        """Go through some of the blocks, each segment by itself."""
        places = torch.arange(self.window, device=x.device)
        mask = causal_window(self.window, self.window, x.device)
        y = self.base.through(parted(x, self.window), places, mask, blocks)
        return joined(y, x.shape[1], x.shape[2])
