"""Makes golden/link_prediction.json: what PyKEEN's own evaluator makes of scores with many ties.

Run ``python -m tests.tasks.pykeen_ranks`` where PyKEEN 1.11.1 can be imported, with all that it depends on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from palimpsest.tasks.shared import graphs

GOLDEN = Path(__file__).parent / "golden/link_prediction.json"
NAMES = {
    "accuracy": "both.realistic.hits_at_1",
    "hits_3": "both.realistic.hits_at_3",
    "hits_10": "both.realistic.hits_at_10",
    "mrr": "both.realistic.inverse_harmonic_mean_rank",
}
"""Our metrics → those of PyKEEN."""
FAMILY, SEED = (3, 4), 5
LEVELS = (3, 12, 1_000_000)
"""How many different scores there are: with few of them most ranks are tied."""


def scores(levels: int) -> Tensor:
    """Scores of all people for both queries of each test fact, (facts, 2, people)."""
    generator = torch.Generator().manual_seed(levels)
    facts = len(graphs.family(*FAMILY, SEED).test)
    return torch.randint(levels, (facts, 2, graphs.family_size(*FAMILY)), generator=generator) / levels


def evaluated(levels: int) -> dict[str, Any]:
    """Ranks and metrics by PyKEEN's RankBasedEvaluator of :func:`scores`, filtered by the facts of all splits.

    The ranks are those of the tail and of the head of each test fact in turn; PyKEEN averages in single precision.
    """
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.evaluation.evaluator import create_sparse_positive_filter_, filter_scores_

    graph, given = graphs.family(*FAMILY, SEED), scores(levels)
    evaluator = RankBasedEvaluator(filtered=True, clear_on_finalize=False)
    for side, (target, column) in enumerate((("tail", 2), ("head", 0))):
        positive, _ = create_sparse_positive_filter_(graph.test, all_pos_triples=graph.facts, filter_col=column)
        own = given[:, side].gather(1, graph.test[:, column, None])
        left = filter_scores_(given[:, side].clone(), filter_batch=positive)
        left.scatter_(1, graph.test[:, column, None], own)
        evaluator.process_scores_(hrt_batch=graph.test, target=target, scores=left, true_scores=own)
    sides = [evaluator.ranks[side, "realistic"] for side in ("tail", "head")]
    ranks = torch.stack([torch.from_numpy(numpy.concatenate(side)) for side in sides], 1).flatten()
    found = evaluator.finalize().to_flat_dict()
    return {"ranks": ranks.tolist(), "metrics": {name: float(found[theirs]) for name, theirs in NAMES.items()}}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({str(levels): evaluated(levels) for levels in LEVELS}, indent=None) + "\n")
