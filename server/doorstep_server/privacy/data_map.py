"""What each stored column is for, on which basis it is kept, and for how long.

Every column of the database, of the keyring and of the access vault is here; a test fails on one
that is not. The record of processing is generated from this map (`record`).
"""

from dataclasses import dataclass
from enum import StrEnum


class Concerns(StrEnum):
    """Whom a column says something about."""

    NOBODY = "nobody"
    TENANT = "the tenant"
    DEVICE = "a device of a person"
    PERSON = "a person"


class Kept(StrEnum):
    """How long."""

    DEPLOYMENT = "as long as the deployment"
    TENANT = "as long as the tenant"
    SITE_HISTORY = "as long as the tenant: old verdicts are explained by old versions"
    SUBJECT = "until the subject is erased"
    DEVICE = "until the device's subject is erased"
    CODE = "15 minutes, and 10 more for a repeated answer; removed when the next code is issued"
    PURPOSE_RETENTION = "until expires_on: the purpose's retention; never read after it"
    RECEIPT = "until expires_on: the longest age of a position and a day, 8 days"
    EXACT = "24 to 48 hours, or until the permission is withdrawn"
    HOLD = "until the hold ends"
    PROOF = "a year"
    ACCESS = "184 days, or as DOORSTEP_ACCESS_VAULT_DAYS says; never read after it"
    COUNT = "as long as the tenant: a number without persons"


class Basis(StrEnum):
    """Why it may be kept."""

    OPERATION = "needed to run the service the tenant contracted"
    PURPOSE = "the legal basis of the purpose, which the row names"
    SECURITY = "needed to know callers and to refuse others"
    HOLD = "a legal claim, which the hold names"
    LAW = "a law that the operator is subject to, such as Article 15 of Brazil's Lei 12.965/2014"
    RIGHTS = "needed to honour the person's decision"


@dataclass(frozen=True, slots=True)
class Entry:
    """One column."""

    purpose: str
    concerns: Concerns
    basis: Basis
    kept: Kept


def _of_tenant(purpose: str) -> Entry:
    return Entry(purpose, Concerns.TENANT, Basis.OPERATION, Kept.TENANT)


def _of_site(purpose: str) -> Entry:
    return Entry(purpose, Concerns.TENANT, Basis.OPERATION, Kept.SITE_HISTORY)


def _of_subject(purpose: str) -> Entry:
    return Entry(purpose, Concerns.PERSON, Basis.OPERATION, Kept.SUBJECT)


def _of_device(purpose: str, basis: Basis = Basis.OPERATION) -> Entry:
    return Entry(purpose, Concerns.DEVICE, basis, Kept.DEVICE)


def _of_code(purpose: str) -> Entry:
    return Entry(purpose, Concerns.PERSON, Basis.SECURITY, Kept.CODE)


def _of_check_in(purpose: str) -> Entry:
    return Entry(purpose, Concerns.PERSON, Basis.PURPOSE, Kept.PURPOSE_RETENTION)


def _of_receipt(purpose: str) -> Entry:
    return Entry(purpose, Concerns.PERSON, Basis.OPERATION, Kept.RECEIPT)


def _of_tally(purpose: str) -> Entry:
    return Entry(purpose, Concerns.NOBODY, Basis.OPERATION, Kept.COUNT)


def _of_exact(purpose: str) -> Entry:
    return Entry(purpose, Concerns.PERSON, Basis.PURPOSE, Kept.EXACT)


def _of_erasure(purpose: str) -> Entry:
    return Entry(purpose, Concerns.NOBODY, Basis.RIGHTS, Kept.PROOF)


def _of_hold(purpose: str) -> Entry:
    return Entry(purpose, Concerns.PERSON, Basis.HOLD, Kept.HOLD)


def _of_access(purpose: str) -> Entry:
    return Entry(purpose, Concerns.PERSON, Basis.LAW, Kept.ACCESS)


def _of_deployment(purpose: str) -> Entry:
    return Entry(purpose, Concerns.NOBODY, Basis.OPERATION, Kept.DEPLOYMENT)


_KEEPS_APART = "keeps tenants apart"

DATA_MAP: dict[str, dict[str, Entry]] = {
    "deployment": {
        "only": _of_deployment("there is one row"),
        "keyring_id": _of_deployment("the keyring that belongs to this database"),
        "database_id": _of_deployment("names the database, so that the keyring knows its own"),
        "keyring_generation": _of_deployment("notices a keyring or a database that is older"),
        "is_copy": _of_deployment("whether it has to be swept before it is used"),
    },
    "alembic_version": {"version_num": _of_deployment("which migrations the database has had")},
    "tenants": {
        "tenant_id": _of_tenant(_KEEPS_APART),
        "handle": _of_tenant("finds the tenant that a key, token or code belongs to"),
        "name": _of_tenant("shown to people who enroll"),
        "is_demo": _of_tenant("marks simulated data"),
        "max_speed_kmh": _of_tenant("doubts check-ins that nobody could have travelled between"),
        "max_site_area_km2": _of_tenant("refuses sites so large that they say nothing"),
        "max_level": _of_tenant("the most that any purpose may store of a place"),
    },
    "changes": {
        "tenant_id": _of_tenant(_KEEPS_APART),
        "version": _of_tenant("tells every process that the configuration changed"),
    },
    "api_keys": {
        "tenant_id": _of_tenant(_KEEPS_APART),
        "kid": _of_tenant("finds the key"),
        "name": _of_tenant("tells the tenant its keys apart"),
        "secret_hash": _of_tenant("checks the key; the secret is not stored"),
        "scopes": _of_tenant("what the key may do"),
        "created_at": _of_tenant("tells the tenant its keys apart"),
        "revoked_at": _of_tenant("refuses the key from then on"),
    },
    "purposes": {
        "tenant_id": _of_tenant(_KEEPS_APART),
        "name": _of_tenant("names the purpose"),
        "version": _of_tenant("which policy a check-in was stored under"),
        "title": _of_tenant("explains the purpose to people"),
        "legal_basis": _of_tenant("why location may be processed"),
        "level": _of_tenant("the most that is stored of a place"),
        "time_precision_s": _of_tenant("how far stored times are cut"),
        "retention_days": _of_tenant("when check-ins expire"),
        "max_age_s": _of_tenant("how old a position may be"),
        "requires_consent": _of_tenant("refuses check-ins without consent"),
        "active": _of_tenant("whether check-ins are taken"),
        "judged_by": _of_tenant("whether positions are sent, or stay on the phone"),
    },
    "sites": {
        "tenant_id": _of_site(_KEEPS_APART),
        "site_id": _of_site("names the site"),
        "version": _of_site("the current version"),
        "external_id": _of_site("the tenant's own id for the site"),
        "changed": _of_site("tells every process which sites a change concerns"),
    },
    "site_versions": {
        "tenant_id": _of_site(_KEEPS_APART),
        "site_id": _of_site("names the site"),
        "version": _of_site("which version a verdict was judged by"),
        "name": _of_site("shown to the tenant"),
        "shape": _of_site("the geofence: a place of business, not of a person"),
        "radius_m": _of_site("the geofence of a circle"),
        "extent": _of_site("finds the sites of a part of the map"),
        "tolerance_m": _of_site("how far the geofence is grown"),
        "assurance": _of_site("how sure a verdict must be"),
        "max_accuracy_m": _of_site("how inaccurate a position may be"),
        "timezone": _of_site("the site's local time"),
        "hours": _of_site("when check-ins are taken"),
        "purposes": _of_site("which purposes are served here"),
        "groups": _of_site("who may check in here"),
        "active": _of_site("whether check-ins are taken"),
        "valid_from": _of_site("since when this version holds"),
    },
    "subjects": {
        "tenant_id": _of_subject(_KEEPS_APART),
        "subject_id": _of_subject("names the person inside Doorstep"),
        "sealed": _of_subject("where the person may check in, and what they restricted: sealed"),
    },
    "enrollment_codes": {
        "tenant_id": _of_code(_KEEPS_APART),
        "code_label": _of_code("checks a code; the code is not stored"),
        "subject_id": _of_code("whose device the code enrolls"),
        "expires_at": _of_code("refuses the code from then on"),
        "installation_label": _of_code("repeats a lost answer to the same installation only"),
        "device_id": _of_code("repeats a lost answer"),
        "used_at": _of_code("refuses a second use"),
    },
    "devices": {
        "tenant_id": _of_device(_KEEPS_APART),
        "device_id": _of_device("names the device"),
        "subject_id": _of_device("whose device it is"),
        "installation_label": _of_device("ends the device before when an app enrolls again"),
        "sealed": _of_device(
            "what it is, what its owner allows and since which report: sealed", Basis.RIGHTS
        ),
        "revoked": _of_device("refuses the device", Basis.SECURITY),
    },
    "device_tokens": {
        "tenant_id": _of_device(_KEEPS_APART, Basis.SECURITY),
        "kid": _of_device("finds the token", Basis.SECURITY),
        "device_id": _of_device("whose token it is", Basis.SECURITY),
        "secret_hash": _of_device("checks the token; the secret is not stored", Basis.SECURITY),
        "fresh": _of_device("ends the token before on first use", Basis.SECURITY),
    },
    "check_ins": {
        "tenant_id": _of_check_in(_KEEPS_APART),
        "expires_on": _of_check_in("when the row ends"),
        "id": _of_check_in("names the check-in; made at random by the app"),
        "token": _of_check_in("finds a person's rows: a keyed hash that no other row shares"),
        "sealed": _of_check_in("who checked in: sealed, unreadable without the keyring"),
        "purpose": _of_check_in("why it was stored"),
        "policy_version": _of_check_in("which version of the purpose it was stored under"),
        "legal_basis": _of_check_in("on which basis it was stored"),
        "level": _of_check_in("how much place was stored"),
        "site_id": _of_check_in("where: an authorized location, never a position"),
        "site_version": _of_check_in("explains the verdict"),
        "cell": _of_check_in("where, for purposes without sites: a cell of about 5 km²"),
        "action": _of_check_in("in or out, if the app says"),
        "time": _of_check_in("when, cut to the purpose's precision"),
        "outcome": _of_check_in("the verdict"),
        "reason": _of_check_in("explains the verdict"),
        "evidence": _of_check_in("what the verdict rests on"),
    },
    "receipts": {
        "tenant_id": _of_receipt(_KEEPS_APART),
        "key": _of_receipt("finds the receipt of a check-in id: a keyed hash"),
        "digest": _of_receipt("notices an id used for other content: 16 bits of a keyed hash"),
        "expires_on": _of_receipt("when the receipt ends"),
        "record_expires_on": _of_receipt("finds the stored check-in, to repeat its answer"),
        "sealed": _of_receipt("repeats the answer of a check-in that stored nothing: sealed"),
    },
    "tallies": {
        "tenant_id": _of_tally(_KEEPS_APART),
        "day": _of_tally("counts by day"),
        "purpose": _of_tally("counts by purpose"),
        "reason": _of_tally("counts by reason"),
        "count": _of_tally("how often"),
    },
    "exact_positions": {
        "tenant_id": _of_exact(_KEEPS_APART),
        "expires_on": _of_exact("from which day on it cannot be read"),
        "id": _of_exact("whose check-in's position it is"),
        "sealed": _of_exact("where exactly: sealed under a key that is destroyed with the day"),
    },
    "erasures": {
        "tenant_id": _of_erasure(_KEEPS_APART),
        "erasure_id": _of_erasure("names the erasure; random"),
        "subject_id": Entry(
            "whom to erase, until that is done", Concerns.PERSON, Basis.RIGHTS, Kept.SUBJECT
        ),
        "asked_on": _of_erasure("when it was asked for"),
        "receipt": _of_erasure("proves what was done, without saying to whom"),
    },
    "expired_counts": {
        "tenant_id": _of_tally(_KEEPS_APART),
        "expires_on": _of_tally("counts by the day on which check-ins expired"),
        "purpose": _of_tally("counts by purpose"),
        "outcome": _of_tally("counts by outcome"),
        "count": _of_tally("how many there were"),
    },
    "legal_holds": {
        "tenant_id": _of_hold(_KEEPS_APART),
        "hold_id": _of_hold("names the hold"),
        "subject_id": _of_hold("whose check-ins are to be kept"),
        "reason": _of_hold("why"),
        "expires_on": _of_hold("when the hold ends"),
    },
    "held_check_ins": {
        "tenant_id": _of_hold(_KEEPS_APART),
        "hold_id": _of_hold("for which hold it is kept"),
        "held_id": _of_hold("names the row; random"),
        "sealed": _of_hold("the check-in: sealed under the hold's key, and in no list"),
    },
    # the keyring, a store of its own
    "keyring": {
        "keyring_id": _of_deployment("names the keyring, so that a database knows its own"),
        "database_id": _of_deployment("the database that belongs to this keyring"),
        "generation": _of_deployment("notices a keyring or a database that is older"),
    },
    "keyring_entries": {
        "tenant": _of_subject(_KEEPS_APART),
        "kind": _of_subject("what the entry is for"),
        "name": _of_subject("finds it: an id, a month, or the keyed hash of an external id"),
        "wrapped": _of_subject(
            "a secret, with the external id where it is a person's: unreadable without the root"
        ),
    },
    # the access vault, a store of its own: there is none unless the operator names it
    "accesses": {
        "day": _of_access("when the row ends"),
        "nonce": _of_access("unseals the row, with the vault's key"),
        "sealed": _of_access(
            "times and IP addresses of uses of the API, and not whose; who read them; sealed"
        ),
    },
}
