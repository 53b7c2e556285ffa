"""Cards of data sets: a card describes the examples, chance, informed floor and ceiling. Does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import read_json


def load_card(directory: Path) -> dict[str, Any]:
    """Read the card of a data set.

    Raises:
        DataError: the card is missing, is not JSON, or lacks a key.
    """
    card = read_json(directory / "card.json")
    for key in ("answers", "chance", "floor", "floors_by_slice", "ceiling", "sha256"):
        if key not in card:
            raise DataError(f"{directory / 'card.json'}: {key}: missing; allowed: what `palimpsest data` writes")
    return card
