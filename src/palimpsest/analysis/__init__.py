"""From the files of runs to metrics, statistics and verdicts; pure functions on data frames."""
