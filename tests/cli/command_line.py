"""Calls the command line in the process of the tests."""

from __future__ import annotations

import sys

import pytest

from palimpsest.cli import door


def palimpsest(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["palimpsest", *arguments])
    try:
        door.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
