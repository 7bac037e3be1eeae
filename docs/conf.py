"""How the site is built: `make docs`."""

import os
import sys
from pathlib import Path

import motet

# Guides call the motet that they import.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

project = "motet"
author = "The motet developers"
copyright = f"2026, {author}"
release = version = motet.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"motet {release}"
html_static_path = ["_static"]
html_show_sourcelink = False
html_theme_options = {"source_view_link": "", "navigation_with_keys": True}

# Pages: Markdown; those with cells are run anew whenever the site is built, and one that fails fails the build.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 180
nb_merge_streams = True
nb_output_stderr = "remove"  # progress

# Docstrings: Google form; what stands in backticks is a name, or code.
default_role = "py:obj"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_typehints = "none"  # docstrings say what things are, shapes and units too
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "inherited-members": "BaseEstimator,ClassifierMixin,RegressorMixin,TransformerMixin,_SetOutputMixin,Module",
}
# Types of other libraries have no page here, and nothing is fetched to find one.
nitpick_ignore_regex = [("py:.*", ".*")]


def _with_neighbours(app, page, source):
    """Lists of pages that are read on their own too, as they are, lead to their neighbours here."""
    if page in ("results/README", "decisions/README"):
        source[0] += "\n\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def _is_left_out(app, what, name, obj, skip, options):
    """What scikit-learn puts into every estimator for its pipelines is described there."""
    return skip or name == "get_metadata_routing" or (name.startswith("set_") and name.endswith("_request"))


def setup(app):
    """Join what is above to the builder."""
    app.connect("source-read", _with_neighbours)
    app.connect("autodoc-skip-member", _is_left_out)
