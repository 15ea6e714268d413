"""The explorer, `influent serve`: a page on one's own net and data, where units can be looked at and switched off.

Two processes. The server (`server`, `guard`, `jobs`, `results`) speaks HTTP and loads no torch; `worker` holds the net
and answers, one step of one job at a time. What a browser may ask is in `asks`; `desk` is what the worker has at hand,
and `answers`, `units`, `classes` and `switch` are the pages that it makes. See docs/why/026-explorer.md.
"""
