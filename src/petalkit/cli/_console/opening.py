"""The address of the console: printed, and opened in a browser.

The trap: every user of a machine sees the command line of every program, and so of the browser that
is started with an address. The token stands in that address; so the browser is given a file that
only its user can read, which leads there. Another: who starts a browser may wait for it, seconds
for a new one, and until its end for one in the terminal; so that is not done in the event loop,
which has to serve the page meanwhile.
"""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import trio

from .._errors import report

_PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={address}">
<title>petalkit console</title>
<p><a href="{address}">To the console</a></p>
"""


async def show_in_browser(address: str) -> None:
    """Open it, and say so where there is no browser; until cancelled, since it needs a file."""
    try:
        with leading_to(address) as url:
            open_it = webbrowser.open
            if not await trio.to_thread.run_sync(open_it, url, abandon_on_cancel=True):
                _no_browser("no browser could be started")
            await trio.sleep_forever()
    except (OSError, webbrowser.Error) as error:
        _no_browser(f"no browser could be started: {error}")


def _no_browser(why: str) -> None:
    report(f"{why}: open the address yourself", kind="warning")


@contextmanager
def leading_to(address: str) -> Iterator[str]:
    """A file that leads there: its address. It is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="petalkit-console-") as folder:  # 0700
        file = Path(folder) / "console.html"
        file.write_text(_PAGE.format(address=escape(address)), "utf-8")
        yield file.as_uri()
