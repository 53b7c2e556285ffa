"""The card of a data set: what is in it, its chance and its ceiling. Reading one needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palimpsest.foundation.errors import DataError
from palimpsest.foundation.files import read_json


def load_card(directory: Path) -> dict[str, Any]:
    """Read a card.

    Raises:
        DataError: it is missing, is not JSON, or lacks a key.
    """
    card = read_json(directory / "card.json")
    for key in ("chance", "ceiling", "sha256"):
        if key not in card:
            raise DataError(f"{directory / 'card.json'}: {key}: missing; allowed: what `palimpsest data` writes")
    return card
