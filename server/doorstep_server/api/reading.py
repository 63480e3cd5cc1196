"""Reading personal data needs a reason: a registered purpose, or one of a few fixed ones."""

from typing import Annotated, Any

from litestar.params import HeaderParameter

from doorstep_server.check_ins.claim import PURPOSE_NAME
from doorstep_server.policies import Policy
from doorstep_server.problems import Refusal

REASONS = frozenset({"operations", "support", "review", "privacy-request", "audit"})
#: as OpenAPI describes what the header takes
_ANY_OF: list[dict[str, Any]] = [
    {"enum": sorted(REASONS)},
    {"pattern": PURPOSE_NAME.replace(r"\Z", "$")},
]

PurposeHeader = Annotated[
    str | None,
    HeaderParameter(
        name="Doorstep-Purpose",
        description="Why personal data is read: a registered purpose, or one of "
        + ", ".join(f"`{reason}`" for reason in sorted(REASONS))
        + ". Required for API keys.",
        schema_extra={"any_of": _ANY_OF},
    ),
]


def require_reason(policy: Policy, given: str | None) -> None:
    """Refuse a read of personal data that does not say why."""
    if given not in REASONS and given not in policy.purposes:
        raise Refusal("purpose-required")
