"""What Doorstep does with positions, and how it protects what it keeps: as implemented.

Each says where it is shown: a test, or a file of tests. A test fails when one of them is gone.
"""

import msgspec


class Practice(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is done, and what shows that it is."""

    what: str
    #: tests, from the root of the repository
    shown_by: list[str]


def _practice(what: str, *shown_by: str) -> Practice:
    return Practice(what=what, shown_by=[f"tests/{place}" for place in shown_by])


OPERATIONS = [
    _practice(
        "A position is collected with a check-in, judged in memory against the authorized "
        "locations, and forgotten; only a purpose of the level exact keeps it, sealed.",
        "privacy/test_no_coordinate_at_rest.py",
        "server/test_levels.py",
    ),
    _practice(
        "The verdict is stored, with no more of the place and the time than the purpose allows.",
        "server/test_check_ins.py::test_inside_a_site_is_accepted_and_says_what_was_stored",
        "server/test_check_ins.py::test_times_are_cut_and_expiry_set_as_the_purpose_says",
    ),
    _practice(
        "What is rejected or refused is counted by day, purpose and reason.",
        "server/test_check_ins.py::test_far_outside_is_rejected_and_stores_nobody",
        "server/test_permission.py::test_refusals_are_counted_without_naming_anybody",
    ),
    _practice(
        "Check-ins are shown to the controller, by API key, and their own to the person's device.",
        "server/test_check_ins.py::test_an_admin_reads_who_checked_in_and_says_why",
        "server/test_check_ins.py::test_a_device_lists_its_own_of_the_last_days",
    ),
    _practice(
        "What has expired is deleted.",
        "server/test_retention.py::test_check_ins_go_when_they_have_expired_and_not_before",
        "server/test_retention.py::test_receipts_go_when_no_retry_can_need_them",
    ),
]


def travel(max_speed_kmh: int) -> Practice:
    """What is done where the tenant has set a speed."""
    return _practice(
        "A check-in at a site that nobody could have come to from the person's last one (faster "
        f"than {max_speed_kmh} km/h) is held to be uncertain. The last site is kept in memory.",
        "server/test_travel.py",
    )


MEASURES = [
    _practice(
        "No coordinate of a person can be read in the database, its files, or the logs. Exact "
        "positions, where a purpose keeps them, are sealed under a key that is destroyed after 24 "
        "to 48 hours, or when the permission is withdrawn.",
        "privacy/test_no_coordinate_at_rest.py",
        "server/test_levels.py",
        "server/test_store.py::test_no_column_could_hold_a_coordinate_of_a_person",
    ),
    _practice(
        "Every column that is stored has a purpose, a basis and a retention.",
        "privacy/test_data_map.py",
    ),
    _practice(
        "Of a device an allow-list is kept, sealed: its platform, major version and model; and a "
        "keyed hash of the installation.",
        "server/test_auth.py::test_only_the_allow_listed_is_kept_of_a_device_and_sealed",
    ),
    _practice(
        "A row of a check-in has no value that another row of the same person shares, and does not "
        "say without the keyring whose it is.",
        "server/test_tokens.py::test_tokens_share_the_day_and_nothing_else",
    ),
    _practice(
        "After a withdrawal of the phone's location permission was answered, none of its check-ins "
        "is stored until it is granted again, and none from before it ever.",
        "server/test_permission.py",
        "reliability/test_withdrawals.py",
    ),
    _practice(
        "A permission that is not reported again lapses after a week, or a day if it was for once.",
        "server/test_leases.py",
    ),
    _practice(
        "A person may restrict what is processed of them: from the answer on none of it is stored.",
        "server/test_restrictions.py",
    ),
    _practice(
        "A person can be erased, by themselves or by the controller. A signed receipt says what "
        "was removed, and what may still be where.",
        "server/test_erasures.py",
    ),
    _practice(
        "Expired check-ins are never read; servers delete them, and old receipts, every hour.",
        "server/test_check_ins.py::test_expired_check_ins_are_never_read",
        "server/test_retention.py::test_the_server_does_it_by_itself",
    ),
    _practice(
        "Tenants are kept apart: every statement names its tenant or is not run. On PostgreSQL row "
        "level security says the same once more.",
        "privacy/test_tenants_apart.py",
        "server/test_isolation.py",
        "server/test_postgresql.py::test_without_a_named_tenant_there_are_no_rows",
    ),
    _practice(
        "Every route under /v1 asks for a credential, but those that take a code, and the public "
        "keys that receipts are checked with. API keys may do what their scopes say.",
        "server/test_auth.py::test_every_route_under_v1_is_guarded_except_these",
        "server/test_auth.py::test_a_key_may_do_what_its_scopes_say",
    ),
    _practice(
        "Credentials are stored as keyed hashes. Enrollment codes work once, for 15 minutes; "
        "guessing them is slowed down.",
        "server/test_auth.py::test_secrets_are_not_in_the_database",
        "server/test_auth.py::test_a_code_works_once",
        "server/test_auth.py::test_a_code_ends_after_15_minutes",
        "server/test_auth.py::test_guessing_codes_is_slowed_down",
    ),
    _practice(
        "Whoever reads about persons with an API key must say why.",
        "server/test_check_ins.py::test_an_admin_reads_who_checked_in_and_says_why",
    ),
    _practice(
        "The secrets that seal what is stored about persons are in a keyring outside the database, "
        "wrapped by a root outside the keyring. A server does not start without those that belong "
        "to its database.",
        "server/test_keyring.py",
    ),
    _practice(
        "Database files and the keyring can be read by their owner alone. On SQLite what is "
        "deleted is overwritten.",
        "server/test_store.py::test_files_are_their_owners_alone",
        "server/test_store.py::test_every_connection_is_durable_and_overwrites_what_it_deletes",
    ),
    _practice(
        "Where it is switched on, an access vault keeps times and IP addresses of uses, not whose "
        "they were, sealed under a key in a file of its own; who reads it leaves a trace.",
        "server/test_access_vault.py",
    ),
    _practice(
        "Answers that could tell where a site is are limited to a number in a time.",
        "privacy/test_probes.py",
    ),
    _practice(
        "Logs hold named fields only: no address, no body, no coordinate, no token.",
        "server/test_logs.py",
        "e2e/test_story.py::test_the_log_names_requests_by_route_and_code_only",
    ),
    _practice(
        "What was acknowledged is on disk.",
        "reliability/test_kills.py::test_nothing_acknowledged_is_lost_and_nothing_is_there_twice",
        "server/test_postgresql.py::"
        "test_what_is_acknowledged_is_on_disk_whatever_the_server_is_set_to",
    ),
]

NOBODY_ELSE = _practice(
    "Doorstep gives data to nobody but callers with the controller's API keys and the persons' own "
    "devices: a server connects to its database and to nothing else.",
    "server/test_record.py::test_a_server_connects_to_nobody",
)
