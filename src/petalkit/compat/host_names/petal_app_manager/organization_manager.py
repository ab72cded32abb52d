"""The host's name for `petalkit.compat`'s organization manager."""

from __future__ import annotations

from petalkit.compat import OrganizationInfo as OrganizationInfo
from petalkit.compat import OrganizationManager as OrganizationManager
from petalkit.compat import get_organization_manager as get_organization_manager
from petalkit.compat import set_organization_manager as set_organization_manager

from ._missing import missing_from

__getattr__ = missing_from(__name__)
