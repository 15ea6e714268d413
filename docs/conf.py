"""How Sphinx builds the documentation: `python3 dev.py docs`."""

project = "influent"
author = copyright = "The influent authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build", "images"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
myst_enable_extensions = ["dollarmath"]
