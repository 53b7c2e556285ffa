"""Link prediction: ranks are those of PyKEEN's evaluator and of a naive count, and the filter knows what is known."""

from __future__ import annotations

import importlib.util
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from palimpsest.foundation.errors import ParameterError
from palimpsest.foundation.sections import checked
from palimpsest.tasks import Examples, link_prediction
from palimpsest.tasks.link_prediction import Config, packed, realistic_ranks, unpacked
from palimpsest.tasks.shared import graphs
from tests.tasks import pykeen_ranks

KINSHIPS = Config(graph="kinships", num_train=17088, num_validation=2136, num_test=2148)
HAS_PYKEEN = importlib.util.find_spec("pykeen") is not None


def repeated(examples: Examples) -> Examples:
    """The same examples with an axis of one run."""
    return Examples(examples.inputs[None], examples.targets[None], {k: v[None] for k, v in examples.extras.items()})


@pytest.mark.parametrize("levels", pykeen_ranks.LEVELS)
def test_filtered_ranks_agree_with_those_of_pykeen_to_the_last_digit(levels: int) -> None:
    golden = json.loads(pykeen_ranks.GOLDEN.read_text())[str(levels)]
    branching, generations = pykeen_ranks.FAMILY
    test = Config(branching=branching, generations=generations).build(pykeen_ranks.SEED).test
    logits = pykeen_ranks.scores(levels).flatten(0, 1)
    known = unpacked(test.extras["known"], logits.shape[-1])
    assert realistic_ranks(logits, test.targets[:, 0], known).tolist() == golden["ranks"]
    found = link_prediction.score(logits[None, :, None].double(), repeated(test))
    for name, theirs in golden["metrics"].items():
        exact = found[name].mean().item()
        assert exact == pytest.approx(theirs, rel=1e-6 if name == "mrr" else 1e-15)


@pytest.mark.parametrize("levels", pykeen_ranks.LEVELS)
def test_the_golden_numbers_are_those_of_pykeen(levels: int) -> None:
    pytest.importorskip("pykeen.evaluation", exc_type=ImportError)
    assert pykeen_ranks.evaluated(levels) == json.loads(pykeen_ranks.GOLDEN.read_text())[str(levels)]


@given(st.data())
def test_a_rank_is_the_mean_of_the_best_and_the_worst_place_in_a_sorted_list(data: st.DataObject) -> None:
    entities = data.draw(st.integers(2, 8))
    logits = data.draw(st.lists(st.integers(0, 3), min_size=entities, max_size=entities))
    target = data.draw(st.integers(0, entities - 1))
    known = data.draw(st.lists(st.booleans(), min_size=entities, max_size=entities))
    left = sorted((logits[e] for e in range(entities) if e == target or not known[e]), reverse=True)
    places = [place for place, value in enumerate(left, 1) if value == logits[target]]
    ranks = realistic_ranks(torch.tensor(logits).float(), torch.tensor(target), torch.tensor(known))
    assert ranks.item() == (places[0] + places[-1]) / 2


def test_what_is_no_number_helps_nobody() -> None:
    nan = math.nan
    logits = torch.tensor([[nan, 1.0, 2.0], [nan, 1.0, 2.0], [nan, nan, nan]])
    assert realistic_ranks(logits, torch.tensor([0, 2, 1])).tolist() == [3, 2, 3]


@given(st.integers(1, 100), st.integers(0, 2**31))
def test_bits_come_out_of_words_as_they_went_in(count: int, seed: int) -> None:
    flags = torch.rand(3, count, generator=torch.Generator().manual_seed(seed)) < 0.5
    words = packed(flags)
    assert words.max() < 2**30
    assert torch.equal(unpacked(words.to(torch.int32), count), flags)


def test_a_fact_is_asked_from_both_sides() -> None:
    config = Config()
    graph, test = graphs.family(3, 4, 7), config.build(7).test
    assert len(test.inputs) == 2 * len(graph.test)
    head, relation, tail = graph.test[0].tolist()
    assert test.inputs[0].tolist() == [config.ask, head, 40 + relation]
    assert test.targets[0].tolist() == [tail]
    assert test.inputs[1].tolist() == [config.ask, tail, 45 + relation]
    assert test.targets[1].tolist() == [head]


def test_the_filter_has_every_known_answer_of_all_splits_and_nothing_else() -> None:
    config = Config(branching=2, generations=4, num_train=116, num_validation=12, num_test=24)
    facts = {tuple(fact) for fact in graphs.family(2, 4, 3).facts.tolist()}
    for inputs, targets, extras in config.build(3):
        known = unpacked(extras["known"], 15)
        assert known.gather(1, targets).all()
        for (_, entity, token), row in zip(inputs.tolist(), known.tolist(), strict=True):
            relation = token - 15
            back = relation >= 5
            asked = [(e, relation - 5, entity) if back else (entity, relation, e) for e in range(15)]
            assert row == [fact in facts for fact in asked]


def test_slices_say_how_training_joins_a_pair() -> None:
    config, graph = Config(), graphs.family(3, 4, 2)
    pairs = {(head, tail) for head, _, tail in graph.train.tolist()}
    slices = config.build(2).test.extras["slice"][::2].tolist()
    for (head, _, tail), found in zip(graph.test.tolist(), slices, strict=True):
        assert found == (2 if (tail, head) in pairs else int((head, tail) in pairs))
    assert graphs.leakage(graph).reversed_pairs == slices.count(2) / len(slices)


def test_chance_is_what_random_scores_reach() -> None:
    config = Config()
    hits = []
    for seed in range(20):
        test = config.build(seed).test
        logits = torch.rand(50, len(test.targets), 1, 40, generator=torch.Generator().manual_seed(seed))
        many = Examples(
            *(part.expand(50, *part.shape) for part in test[:2]), {"known": test.extras["known"].expand(50, -1, -1)}
        )
        hits.append(link_prediction.score(logits, many)["accuracy"].mean().item())
    mean = sum(hits) / len(hits)
    assert mean == pytest.approx(link_prediction.chance(config), abs=4 * (mean / (20 * 50 * 160)) ** 0.5)


def known_scores(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows)[None, :, None]


def test_a_tie_for_the_first_place_is_no_hit() -> None:
    targets = torch.tensor([[0], [0]])[None]
    found = link_prediction.score(known_scores([[1.0, 1.0, 0.0], [1.0, 0.5, 0.0]]), Examples(targets, targets, {}))
    assert found["accuracy"].tolist() == [[0, 1]]
    torch.testing.assert_close(found["mrr"], torch.tensor([[1 / 1.5, 1]]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"graph": "wordnet"}, "graph: 'wordnet'"),
        ({"num_test": 162}, "num_test 162; allowed: at most 160 in the graph 'family'"),
        ({"graph": "nations", "num_train": 3185}, "num_train 3185; allowed: at most 3184 in the graph 'nations'"),
        ({"branching": 9, "generations": 5}, "a family of 7381 people; allowed: at most 1000"),
        ({"generations": 2}, "generations: 2"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(content: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        checked(Config, content, "file")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not HAS_PYKEEN, reason="the graphs of requirements-graphs.lock are not installed")
def test_kinships_are_as_many_as_published() -> None:
    splits = KINSHIPS.build(0)
    assert [len(split.targets) for split in splits] == [17088, 2136, 2148]
    assert KINSHIPS.interface()["num_outputs"] == 104
    assert link_prediction.chance(KINSHIPS) == pytest.approx(0.010626, abs=1e-6)
    assert splits.test.extras["slice"].eq(2).double().mean().item() == pytest.approx(0.8147, abs=1e-4)
