"""trio-asyncio, imported here for all.

From Python 3.12 on its import says that a class of asyncio's is deprecated. That is nothing that a
user can mend, and an error where warnings are errors.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'AbstractChildWatcher' is deprecated", DeprecationWarning)
    import trio_asyncio as trio_asyncio
