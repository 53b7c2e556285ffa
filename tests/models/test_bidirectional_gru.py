"""The bidirectional GRU and the bag of tokens: what each question sees."""

from __future__ import annotations

import torch

from palimpsest.layers.initialisation import reset_parameters
from palimpsest.models import Batch, bag_of_tokens, bidirectional_gru


def batch(inputs: torch.Tensor) -> Batch:
    """Sequences of one run."""
    return Batch(inputs[None], torch.zeros(1, dtype=torch.int64), {})


def test_an_answer_is_read_off_the_last_states_of_both_directions() -> None:
    sizes = {"num_tokens": 9, "num_outputs": 3, "sequence_length": 8, "width": 5, "hidden": 4}
    inputs = torch.randint(9, (6, 8), generator=torch.Generator().manual_seed(0))
    for asked in (None, (7,), (2, 5)):
        model = bidirectional_gru.Model(bidirectional_gru.Config(asked=asked, **sizes), 1)
        reset_parameters(model, [torch.Generator().manual_seed(1)])
        found = model(batch(inputs), {}).logits[0]
        for place, step in enumerate(range(8) if asked is None else asked):
            features = model.input(inputs[None, :, : step + 1])
            ahead, back = model.encoder.ahead.initial_state(6), model.encoder.back.initial_state(6)
            for x, y in zip(features.unbind(2), features.flip(2).unbind(2), strict=True):
                ahead, back = model.encoder.ahead.step(x, ahead)[1], model.encoder.back.step(y, back)[1]
            expected = model.head(torch.cat([ahead.hidden, back.hidden], -1))[0]
            torch.testing.assert_close(found[:, place], expected)


def test_a_bag_does_not_see_the_order_of_tokens() -> None:
    sizes = {"num_tokens": 9, "num_outputs": 3, "sequence_length": 8, "width": 5, "hidden": 6}
    model = bag_of_tokens.Model(bag_of_tokens.Config(asked=(7,), **sizes), 1)
    reset_parameters(model, [torch.Generator().manual_seed(1)])
    inputs = torch.randint(9, (6, 8), generator=torch.Generator().manual_seed(0))
    found = model(batch(inputs), {}).logits
    torch.testing.assert_close(model(batch(inputs.flip(1)), {}).logits, found)
    assert not torch.allclose(model(batch((inputs + 1) % 9), {}).logits, found)
