"""A logger plugin for Snakemake that prints a build as a person reads it: one line for each finished job.

    37 % | 12 min left | measure | results/nema_lite/track=repaired/ (20 files) | 8 s

Errors are printed with the logs of the failed jobs, and a dry run lists jobs and their files as Snakemake itself does.
The complete record of a build, with every input and reason, is in `.snakemake/log`. Snakemake finds the package by its
name; `logger: palimpsest` in a profile selects it.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

from snakemake.logging import ColorizingTextHandler, get_event
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_palimpsest.progress import Progress, made

HIDDEN = {
    LogEvent.WORKFLOW_STARTED,
    LogEvent.RESOURCES_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.RULEGRAPH,
    LogEvent.PROGRESS,
}
CHATTER = ("Select jobs to execute", "Using shell:", "Assuming unrestricted shared filesystem", "host:")
"""First words of messages without an event that say nothing about this build."""


class LogHandler(LogHandlerBase):
    """Prints to standard error, and a dry run to standard output, as Snakemake's own handler does."""

    def __post_init__(self) -> None:
        self.stream: TextIO = sys.stdout if self.common_settings.stdout else sys.stderr
        self.progress = Progress()
        self.colours = ColorizingTextHandler(nocolor=self.common_settings.nocolor, stream=self.stream)

    @property
    def writes_to_stream(self) -> bool:
        """Snakemake then prints nothing itself."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """The file in `.snakemake/log` is Snakemake's own."""
        return False

    @property
    def has_filter(self) -> bool:
        """Snakemake sets its own filter, so that --quiet and --printshellcmds keep their meaning."""
        return False

    @property
    def has_formatter(self) -> bool:
        """Snakemake sets its own formatter, for errors and dry runs."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """Not used here."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, or nothing."""
        try:
            text = self.format(record) if self.common_settings.verbose else self._line(record)
            if text and text != "None":  # a queue between Snakemake and its plugins turns an empty message into "None"
                self.stream.write(self.colours.decorate(record, text) + "\n")
                self.stream.flush()
        except BrokenPipeError:  # nobody reads any more, as with `| head`
            self.stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        except Exception:  # as every logging.Handler: a line that cannot be printed is reported and stops no build
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        event = get_event(record)
        if event in HIDDEN or (event is None and record.getMessage().startswith(CHATTER)):
            return ""
        if self.common_settings.dryrun:
            return self.format(record)
        if event == LogEvent.RUN_INFO:
            return self.progress.plan(vars(record)["stats"])
        if event == LogEvent.JOB_INFO:
            self.progress.start(vars(record), record.created)
            return ""
        if event == LogEvent.JOB_FINISHED:
            return self.progress.finish(vars(record)["job_id"], record.created)
        if event in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR):
            return self.format(_shortened(record))
        return self.format(record)


def _shortened(record: logging.LogRecord) -> logging.LogRecord:
    """A record of an error without the list of inputs, and with a list of outputs that fits on a line."""
    fields = dict(vars(record))
    if get_event(record) == LogEvent.JOB_ERROR:
        fields |= {"input": [], "output": [made(fields["output"])] if fields["output"] else []}
        fields |= {"msg": fields["rule_msg"]}
    return logging.makeLogRecord(fields)
