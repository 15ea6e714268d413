"""The commands, one a file: `declare` adds a command and its options to the parser, `run` does it and prints.

A new command is a file with these two functions, named in `COMMANDS`. Nothing heavy is imported at the top of these
files, only inside of `run`: `influent --help` does not load torch.
"""

from . import (
    conductance,
    cuts,
    debug,
    essence,
    experts,
    explain,
    layers,
    merge,
    phrases,
    saturation,
    serve,
    shared,
    show,
)

COMMANDS = (
    explain,
    phrases,
    conductance,
    saturation,
    shared,
    essence,
    merge,
    experts,
    layers,
    debug,
    serve,
    cuts,
    show,
)
