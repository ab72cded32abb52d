"""A petal in the full form of the integration guide. petalkit runs it as it is.

Run it: `petalkit run --host-compat step_1_guide.plugin:ExamplePetal`.
"""

import logging

logger = logging.getLogger(__name__)
