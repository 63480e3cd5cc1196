"""Every problem the API can answer with: one table from code to status and to what to do next.

The texts are fixed. Nothing of a request is ever in a problem: no value, no URL, no unknown
member's name. The place in the body, where one is given, is made of our own field names only.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

MEDIA_TYPE = "application/problem+json"
#: a database that is busy or restarting is mostly back by then
RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem."""

    code: str
    status: int
    title: str
    #: what the caller can do about it
    advice: str


def _table(*types: ProblemType) -> MappingProxyType[str, ProblemType]:
    return MappingProxyType({kind.code: kind for kind in types})


TYPES = _table(
    ProblemType(
        "malformed-json", 400, "The body is not JSON that we can read",
        "Send one JSON document in UTF-8, without a byte order mark, without repeated member names "
        "and without NaN or Infinity.",
    ),
    ProblemType(
        "invalid-body", 400, "A member of the body is missing, unknown or of the wrong kind",
        "Compare the body with the schema of this route in /docs. `at` says where, as far as that "
        "can be said.",
    ),
    ProblemType(
        "invalid-parameter", 400, "A query parameter or header is not valid",
        "Compare the parameters with those of this route in /docs; unknown ones are refused.",
    ),
    ProblemType(
        "invalid-cursor", 400, "This cursor is not one of ours",
        "Take `next_cursor` from the page before, unchanged and with the same filters; or start "
        "again without a cursor.",
    ),
    ProblemType(
        "purpose-required", 400, "Reading personal data needs a reason",
        "Send the header `Doorstep-Purpose` with the name of a registered purpose, or one of: "
        "operations, support, review, privacy-request, audit.",
    ),
    ProblemType(
        "metrics-closed", 403, "The metrics are told to this machine only",
        "Ask for them on the machine that serves, past any proxy; or let the operator set "
        "DOORSTEP_METRICS_KEY and send it: `Authorization: Bearer` with the key.",
    ),
    ProblemType(
        "unauthorized", 401, "The credentials are missing or not valid",
        "Send `Authorization: Bearer` with a device token (`dst_…`) or an API key (`dsk_…`). "
        "A device that lost its token enrolls again.",
    ),
    ProblemType(
        "device-revoked", 401, "This device was revoked",
        "Ask the tenant for a new enrollment code and enroll again.",
    ),
    ProblemType(
        "permission-withdrawn", 403, "The device's location permission was withdrawn",
        "Discard positions that were captured before the withdrawal. To check in by location "
        "again, the person grants the permission, and the app reports it.",
    ),
    ProblemType(
        "permission-unknown", 403, "It is not known that the device may use its location",
        "Report the permission (PUT /v1/device/permission) and send the same id again. A position "
        "older than two minutes needs the `permission_epoch` under which it was captured.",
    ),
    ProblemType(
        "purpose-restricted", 403, "This purpose takes no check-ins now",
        "Use another purpose, or ask the tenant to make this one active. If the person has "
        "restricted or objected to it, only they can say otherwise.",
    ),
    ProblemType(
        "consent-required", 403, "This purpose needs the person's consent",
        "No consent is recorded for this person and purpose. Use a purpose with another legal "
        "basis.",
    ),
    ProblemType(
        "not-assigned", 403, "This person may not check in here for this purpose",
        "Ask the tenant to put the person into a group of the site, or to allow the purpose there.",
    ),
    ProblemType(
        "scope-missing", 403, "This API key may not do that",
        "Use a key that has the scope named for this route in /docs.",
    ),
    ProblemType(
        "not-found", 404, "There is nothing here",
        "Check the address and the id. What belongs to another tenant is not found either.",
    ),
    ProblemType(
        "site-unknown", 404, "There is no such active site",
        "Fetch the sites again: it may have been removed or deactivated.",
    ),
    ProblemType(
        "purpose-unknown", 404, "There is no such purpose",
        "Use one of the purposes that GET /v1/device lists.",
    ),
    ProblemType(
        "method-not-allowed", 405, "This address does not take that method",
        "See /docs for the methods of this address.",
    ),
    ProblemType(
        "body-incomplete", 408, "The body did not arrive",
        "Nothing was acknowledged. Send it again, with the same id.",
    ),
    ProblemType(
        "version-conflict", 409, "Somebody changed it in between",
        "Fetch the current version, make the change again, and send it with that `version`.",
    ),
    ProblemType(
        "external-id-taken", 409, "Another site has this external id",
        "Choose another external id, or change the site that has it.",
    ),
    ProblemType(
        "name-taken", 409, "There is one of this name already",
        "Choose another name, or change the one that has it.",
    ),
    ProblemType(
        "body-too-large", 413, "The body is larger than this route takes",
        "Send less at once.",
    ),
    ProblemType(
        "unsupported-media-type", 415, "The body is not of a kind that this route takes",
        "Send `Content-Type: application/json` and no `Content-Encoding`. An import takes the "
        "types of its `format`, which /docs lists, or `application/octet-stream`.",
    ),
    ProblemType(
        "id-not-random", 422, "The check-in's id is not a random UUID",
        "Make ids as UUID version 4 or 8. Other versions tell when or on which machine they were "
        "made.",
    ),
    ProblemType(
        "id-reused", 422, "This id was used for another check-in",
        "Make a new id for a new check-in. A retry repeats the first content unchanged.",
    ),
    ProblemType(
        "site-not-taken", 422, "This purpose has no sites",
        "Leave `site_id` out: for this purpose a cell of the map is kept, and never a site.",
    ),
    ProblemType(
        "position-not-taken", 422, "This purpose takes no positions",
        "Judge the position on the device, by the bundle of GET /v1/sites/bundle, and send "
        "`verdict` in place of `fix`.",
    ),
    ProblemType(
        "verdict-not-taken", 422, "This purpose takes no verdicts of devices",
        "Send `fix` in place of `verdict`: positions of this purpose are judged by the server.",
    ),
    ProblemType(
        "site-required", 422, "A verdict `inside` names its site",
        "Name the site that it is inside of by `site_id`.",
    ),
    ProblemType(
        "bundle-outdated", 422, "The device judged by a site that is no longer as it was",
        "Fetch GET /v1/sites/bundle again, judge the position by it and send that verdict, with "
        "the same id.",
    ),
    ProblemType(
        "bundle-too-large", 422, "There are too many sites for one bundle",
        "Ask the tenant to assign sites to groups of people, so that each person's are fewer.",
    ),
    ProblemType(
        "bundle-not-given", 404, "No purpose is judged by devices here",
        "Check in with a position. A tenant that wants positions to stay on phones registers a "
        "purpose with `judged_by` set to `device`.",
    ),
    ProblemType(
        "judged-by-impossible", 422, "Devices cannot judge for a purpose of this level",
        "Give the level `site` or `none`, or let the server judge: cells and exact positions are "
        "made of positions that are sent.",
    ),
    ProblemType(
        "too-old", 422, "The position is too old for this purpose",
        "Discard it. A check-in must arrive within the purpose's `max_age_s`.",
    ),
    ProblemType(
        "batch-too-large", 422, "A batch holds at most 500 check-ins",
        "Split it.",
    ),
    ProblemType(
        "geofence-invalid", 422, "The geofence is not a shape that can be judged",
        "`reason` says what is wrong with it, and `at` where.",
    ),
    ProblemType(
        "search-invalid", 422, "That is no part of the map",
        "`bbox` is west, south, east, north, in degrees: south is not above north, and west above "
        "east crosses the 180° meridian. Latitudes go from -90 to 90.",
    ),
    ProblemType(
        "hours-invalid", 422, "The opening hours cannot be judged by",
        "`reason` says what is wrong with them, and `at` where.",
    ),
    ProblemType(
        "timezone-unknown", 422, "There is no such time zone",
        "Use an IANA name, such as America/Sao_Paulo.",
    ),
    ProblemType(
        "file-unreadable", 422, "The file cannot be read",
        "`reason` says what is wrong with it, and `at` where. Perhaps it is in another `format`, "
        "or was cut off: save it again.",
    ),
    ProblemType(
        "import-rejected", 422, "Nothing was imported: some features are no sites",
        "`report` names each by its place in the file, with a reason. Mend them, let `repair=true` "
        "mend fences, or leave such features out with `skip_invalid=true`.",
    ),
    ProblemType(
        "hold-period-invalid", 422, "A legal hold cannot last until then",
        "`expires_on` is a day after today, and at most 5 years from now. A longer need is looked "
        "at again then.",
    ),
    ProblemType(
        "sequence-too-far-ahead", 422, "The report's sequence is too far ahead",
        "Count reports one by one from the sequence that GET /v1/device gives.",
    ),
    ProblemType(
        "enrollment-code-invalid", 422, "This enrollment code cannot be used",
        "It may be mistyped, used or older than 15 minutes. Ask for a new one.",
    ),
    ProblemType(
        "rate-limited", 429, "Too many requests",
        "Wait as long as `Retry-After` says.",
    ),
    ProblemType(
        "internal", 500, "Something failed on our side",
        "Nothing was acknowledged. Try again with the same id; if it stays, give the operator the "
        "`request_id`.",
    ),
    ProblemType(
        "unavailable", 503, "The server cannot take this now",
        "Nothing was acknowledged. Wait as long as `Retry-After` says and send it again, with the "
        "same id.",
    ),
)  # fmt: skip


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457. `type` leads to a page that says more."""

    type: str
    title: str
    status: int
    code: str
    #: what to do next
    detail: str
    request_id: str
    at: Annotated[
        str | UnsetType, Meta(description="Where in the body, when that can be said.")
    ] = UNSET
    reason: Annotated[str | UnsetType, Meta(description="A closer reason, from a closed set.")] = (
        UNSET
    )
    retry_after_s: Annotated[
        int | UnsetType,
        Meta(description="Of 429 and 503: how long to wait, as `Retry-After` says it."),
    ] = UNSET
    report: Annotated[
        dict[str, Any] | UnsetType,
        Meta(description="Of an import that was rejected: what it would have answered."),
    ] = UNSET


class Refusal(Exception):
    """Raised at the edge to answer with a problem. The words are the table's."""

    def __init__(
        self,
        code: str,
        *,
        at: str | None = None,
        reason: str | None = None,
        retry_after_s: int | None = None,
        report: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(code)
        self.kind = TYPES[code]
        self.at = at
        self.reason = reason
        if retry_after_s is None and self.kind.status == 503:
            retry_after_s = RETRY_AFTER_S
        self.retry_after_s = retry_after_s
        self.report = report


def problem(refusal: Refusal, request_id: str) -> Problem:
    """The problem document of a refusal."""
    kind = refusal.kind
    return Problem(
        type=f"/problems/{kind.code}",
        title=kind.title,
        status=kind.status,
        code=kind.code,
        detail=kind.advice,
        request_id=request_id,
        at=refusal.at or UNSET,
        reason=refusal.reason or UNSET,
        retry_after_s=UNSET if refusal.retry_after_s is None else refusal.retry_after_s,
        report=refusal.report or UNSET,
    )
