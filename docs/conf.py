"""How Sphinx builds the documentation: `python3 dev.py docs`."""

import re

project = "influent"
author = copyright = "The influent authors"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
html_theme = "furo"
exclude_patterns = ["_build", "images"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
suppress_warnings = ["myst.xref_missing"]


def as_rst(app, what, name, obj, options, lines):
    """Docstrings are written in Markdown, `code` and |size|; autodoc reads reStructuredText."""
    for k, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            code = re.split(r"(`[^`]+`)", line)
            lines[k] = "".join(f"`{c}`" if c.startswith("`") else c.replace("|", "\\|") for c in code)


def setup(app):
    app.connect("autodoc-process-docstring", as_rst)
