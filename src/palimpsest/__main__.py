"""``python -m palimpsest``: the command line, run in a forked job where a process forks jobs."""

import sys

from palimpsest.runtime import prefork

if sys.argv[1:2] == [prefork.COMMAND]:
    prefork.serve(int(sys.argv[2]))
elif (status := prefork.ask(sys.argv[1:])) is not None:
    sys.exit(status)

from palimpsest.cli.door import main  # imports libraries, which a process that only asks for a job does not need

main()
