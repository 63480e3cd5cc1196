"""Which category of data each table of the data map belongs to."""

from enum import StrEnum

from doorstep_server.privacy.data_map import Concerns


class Category(StrEnum):
    """A kind of data that is kept, in the words of the record of processing."""

    CHECK_INS = "check-ins"
    POSITIONS = "exact positions"
    RECEIPTS = "receipts"
    COUNTS = "counts"
    SUBJECTS = "subjects"
    DEVICES = "devices"
    CREDENTIALS = "credentials"
    HOLDS = "legal holds"
    ERASURES = "erasures"
    SITES = "sites"
    CONFIGURATION = "configuration"
    KEYRING = "keyring"
    ACCESSES = "accesses"


#: kept in stores of their own, outside the database
APART = frozenset({Category.KEYRING, Category.ACCESSES})


DESCRIPTIONS = {
    Category.CHECK_INS: "who was at which authorized location, when, for which purpose",
    Category.POSITIONS: "where exactly somebody was, for purposes that keep that for disputes",
    Category.RECEIPTS: "what lets a repeated check-in be answered with the same answer",
    Category.COUNTS: "how often check-ins stored nothing, and how many have expired: no persons",
    Category.SUBJECTS: "the people who check in, known by the controller's own ids",
    Category.DEVICES: "the installations of apps that people check in with",
    Category.CREDENTIALS: "what callers are known by",
    Category.HOLDS: "what a law or a court makes the controller keep of a person, apart",
    Category.ERASURES: "who asked to be erased, until that is done, and what proves that it was",
    Category.SITES: "the authorized locations: places of business, not of persons",
    Category.CONFIGURATION: "what the controller and the operator have set",
    Category.KEYRING: "the secrets that make what is stored about persons readable",
    Category.ACCESSES: "when the API was used and from which IP address, where the operator has "
    "switched on an access vault",
}

#: of every table of the data map
OF_TABLE = {
    "deployment": Category.CONFIGURATION,
    "alembic_version": Category.CONFIGURATION,
    "tenants": Category.CONFIGURATION,
    "changes": Category.CONFIGURATION,
    "purposes": Category.CONFIGURATION,
    "api_keys": Category.CREDENTIALS,
    "enrollment_codes": Category.CREDENTIALS,
    "device_tokens": Category.CREDENTIALS,
    "sites": Category.SITES,
    "site_versions": Category.SITES,
    "subjects": Category.SUBJECTS,
    "devices": Category.DEVICES,
    "check_ins": Category.CHECK_INS,
    "receipts": Category.RECEIPTS,
    "tallies": Category.COUNTS,
    "expired_counts": Category.COUNTS,
    "exact_positions": Category.POSITIONS,
    "erasures": Category.ERASURES,
    "legal_holds": Category.HOLDS,
    "held_check_ins": Category.HOLDS,
    "keyring": Category.KEYRING,
    "keyring_entries": Category.KEYRING,
    "accesses": Category.ACCESSES,
}

#: the category of the people whom a column concerns
DATA_SUBJECTS = {
    Concerns.PERSON: "people who check in",
    Concerns.DEVICE: "people who check in",
}
