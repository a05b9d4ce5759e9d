"""A report as one HTML file, which needs nothing else: data, styles, scripts and plotly.js are inside.

The page may load nothing and run nothing but the scripts that were put in here: its Content-Security-Policy forbids the
network, and names the scripts by their hashes. All texts of a run reach the page as JSON, and the document as text.
"""

import base64
import hashlib
import html
import re
from importlib.resources import files

from dse.errors import MissingDependencyError
from dse.reporting.report.contents import as_json
from dse.reporting.report.numbers import Section

GENERATOR = '<meta name="generator" content="dse report">'
"""What tells our files from others."""

SCRIPTS = (
    "state.js",
    "drawing.js",
    "front.js",
    "layers.js",
    "search.js",
    "memory.js",
    "table.js",
    "made.js",
    "main.js",
)
"""In the order in which they stand on the page."""


def plotly_script() -> str:
    """plotly.js.

    Raises:
        MissingDependencyError: the package plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise MissingDependencyError(
            "dse report needs the package plotly, which is not installed: pip install 'dse[report]'"
        ) from None
    return get_plotlyjs()


def report_html(data: Section) -> str:
    """The file.

    Args:
        data: see `dse.reporting.report.contents.report_data`.

    Raises:
        MissingDependencyError: the package plotly is not installed.
    """
    scripts = {
        "THEME": _page_file("theme.js"),
        "PLOTLY": plotly_script(),
        "SCRIPT": "(function () {\n'use strict';\n" + "\n".join(map(_page_file, SCRIPTS)) + "\n})();",
    }
    scripts = {name: _closed(text) for name, text in scripts.items()}
    parts = scripts | {
        "POLICY": _policy(list(scripts.values())),
        "TITLE": html.escape(data["title"].encode("utf-8", "replace").decode()),
        "STYLE": _page_file("page.css"),
        "DATA": as_json(data),
    }
    pieces = re.split(r"@@([A-Z]+)@@", _page_file("page.html"))  # texts and names in turn
    return "".join(parts[piece] if k % 2 else piece for k, piece in enumerate(pieces))


def _page_file(name: str) -> str:
    return (files("dse.reporting.report") / "page" / name).read_text(encoding="utf-8")


def _closed(script: str) -> str:
    """Without anything that would end its element."""
    return re.sub(r"</(?=script)", r"<\\/", script, flags=re.IGNORECASE)


def _policy(scripts: list[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )
