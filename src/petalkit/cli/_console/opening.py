"""The address of the console: printed, and opened in a browser.

The trap: every user of a machine sees the command line of every program, and so of the browser that
is started with an address. The token stands in that address; so the browser is given a file that
only its user can read, which leads there.
"""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

_PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={address}">
<title>petalkit console</title>
<p><a href="{address}">To the console</a></p>
"""


@contextmanager
def opened_in_browser(address: str) -> Iterator[bool]:
    """Open it; gives whether there was a browser. The file that leads there is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="petalkit-console-") as folder:  # 0700
        file = Path(folder) / "console.html"
        file.write_text(_PAGE.format(address=escape(address)), "utf-8")
        yield webbrowser.open(file.as_uri())
