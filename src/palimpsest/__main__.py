"""``python -m palimpsest``: the command line; where a process forks jobs, its command line."""

import sys

from palimpsest.runtime import prefork

if sys.argv[1:2] == [prefork.COMMAND]:
    prefork.serve(int(sys.argv[2]))
elif (status := prefork.ask(sys.argv[1:])) is not None:
    sys.exit(status)

from palimpsest.cli.door import main  # loads libraries, and so is below what only asks for a job

main()
