"""``python -m palimpsest``: the command line."""

from palimpsest.cli import main

main()
