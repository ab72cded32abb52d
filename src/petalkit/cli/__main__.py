"""`python -m petalkit.cli` is the same as `petalkit`."""

from __future__ import annotations

import sys

from . import main

sys.exit(main())
