"""What the words of the platform's permission mean for what is stored and sent."""

from __future__ import annotations

from doorstep._endpoints import PermissionState

#: a check-in by location may be made, stored and sent
GRANTED: frozenset[PermissionState] = frozenset({"approximate", "precise_once", "precise"})
#: nothing that was captured before may ever be processed again
WITHDRAWN: frozenset[PermissionState] = frozenset({"denied", "restricted", "services_off"})
_PRECISE: frozenset[PermissionState] = frozenset({"precise_once", "precise"})


def is_precise(state: PermissionState) -> bool:
    return state in _PRECISE
