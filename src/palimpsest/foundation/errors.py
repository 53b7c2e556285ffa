"""Errors that a user can cause; the command line prints each on one line and exits with status 2."""

from __future__ import annotations


class PalimpsestError(Exception):
    """An error that the user can correct: the message names the file, the key, the value and what is allowed."""


class ParameterError(PalimpsestError):
    """A parameter is unknown, of the wrong type or outside its range."""


class DataError(PalimpsestError):
    """A data set, checkpoint or result file is missing, corrupt, or has the wrong shape."""


class ToolError(PalimpsestError):
    """A program that the pipeline needs is missing or failed."""
