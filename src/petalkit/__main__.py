"""`python -m petalkit` is the same as `petalkit`."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
