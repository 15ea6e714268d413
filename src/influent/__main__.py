"""`python -m influent` is the `influent` command."""

from .cli import main

raise SystemExit(main())
