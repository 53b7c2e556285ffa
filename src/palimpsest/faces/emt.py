"""EMT, memory bolted onto language models of transformers, under the names of its source (source 003).

>>> import torch
>>> from palimpsest.faces.emt import MemoryModule, attach
>>> from transformers import LlamaConfig, LlamaForCausalLM
>>> sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2}
>>> model = LlamaForCausalLM(LlamaConfig(vocab_size=11, eos_token_id=None, **sizes))
>>> memory = MemoryModule.for_model(model, num_slots=3, slot_dim=4, num_heads=2, segment=4)
>>> with attach(model, memory) as attached:
...     text = model.generate(torch.ones(1, 6, dtype=torch.int64), max_new_tokens=3, do_sample=False, pad_token_id=0)
>>> attached.state.segments.item()  # of 8 tokens that were fed in
2
"""

from __future__ import annotations

from palimpsest.language.attachment import Attached, attach
from palimpsest.language.module import MemoryModule

__all__ = ["Attached", "MemoryModule", "attach"]
