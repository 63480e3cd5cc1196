"""Every setting, read in one place: command-line flags first, then DOORSTEP_* variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "DOORSTEP_"


class InvalidSetting(ValueError):
    """A setting's value cannot be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What an operator can set. Names are those of the variables, without the prefix."""

    #: where state is kept: database, keyring
    home: Path = Path(".doorstep")
    #: sqlite:///file or postgresql://…; by default a SQLite file in the home
    database_url: str | None = field(default=None, repr=False)
    #: the same PostgreSQL database as its owner, for `init` and `migrate`; by default the same
    admin_database_url: str | None = field(default=None, repr=False)
    #: sqlite:///file or postgresql://… of another database; by default a SQLite file in the home
    keyring: str | None = field(default=None, repr=False)
    #: file:///path of the secret that wraps the keyring; by default a file in the home
    keyring_root: str | None = None
    #: how many megabytes the sites of all tenants may take in one process
    sites_memory_mb: int = 2_000
    #: whether answers to check-ins that could locate a site are limited to a number in a time
    probe_budget: bool = True
    #: how many check-ins of one device a process takes at once; 0: there is no limit
    device_at_once: int = 600
    #: and how many more each minute
    device_per_minute: int = 60
    #: how many check-ins may wait to be written in one process
    queue: int = 10_000
    #: how many seconds whoever sends may take for the head of a request, or to begin its body
    patience_s: int = 10
    #: how many seconds a server that stops waits for requests that are under way
    stop_within_s: int = 20
    #: what must be sent to read the metrics; without one they are told to this machine only
    metrics_key: str | None = field(default=None, repr=False)
    #: where the workers of a server keep their numbers: `doorstep serve` makes it for them
    meters: Path | None = None
    #: the file of the access vault, which keeps the times and IP addresses of uses; none by default
    access_vault: Path | None = None
    #: the file of its key; by default beside it, with `.key` at the end of its name
    access_vault_key: Path | None = None
    #: for how many days accesses are kept: six months have up to 184
    access_vault_days: int = 184
    #: how much is logged: debug, info, warning or error
    log_level: str = "info"
    #: addresses of reverse proxies whose X-Forwarded-For is believed, with commas between
    trusted_proxies: str | None = None

    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{(self.home / 'doorstep.db').absolute()}"


def read(environ: Mapping[str, str], *, home: Path | None = None) -> Settings:
    """Settings from the environment; a flag that was given comes first."""
    level = environ.get(PREFIX + "LOG_LEVEL", "info").lower()
    if level not in {"debug", "info", "warning", "error"}:
        raise InvalidSetting("DOORSTEP_LOG_LEVEL must be debug, info, warning or error.")
    probe_budget = environ.get(PREFIX + "PROBE_BUDGET") or "on"
    if probe_budget not in {"on", "off"}:
        raise InvalidSetting("DOORSTEP_PROBE_BUDGET must be on or off.")
    return Settings(
        home=home or Path(environ.get(PREFIX + "HOME") or ".doorstep"),
        database_url=environ.get(PREFIX + "DATABASE_URL") or None,
        admin_database_url=environ.get(PREFIX + "ADMIN_DATABASE_URL") or None,
        keyring=environ.get(PREFIX + "KEYRING") or None,
        keyring_root=environ.get(PREFIX + "KEYRING_ROOT") or None,
        sites_memory_mb=_whole(environ, "SITES_MEMORY_MB", 2_000, "of megabytes"),
        probe_budget=probe_budget == "on",
        device_at_once=_whole(environ, "DEVICE_AT_ONCE", 600, "of check-ins, or 0", least=0),
        device_per_minute=_whole(environ, "DEVICE_PER_MINUTE", 60, "of check-ins"),
        queue=_whole(environ, "QUEUE", 10_000, "of check-ins"),
        patience_s=_whole(environ, "PATIENCE_S", 10, "of seconds"),
        stop_within_s=_whole(environ, "STOP_WITHIN_S", 20, "of seconds"),
        metrics_key=_metrics_key(environ),
        meters=_path(environ, "METERS"),
        access_vault=_path(environ, "ACCESS_VAULT"),
        access_vault_key=_path(environ, "ACCESS_VAULT_KEY"),
        access_vault_days=_whole(environ, "ACCESS_VAULT_DAYS", 184, "of days"),
        log_level=level,
        trusted_proxies=environ.get(PREFIX + "TRUSTED_PROXIES") or None,
    )


def _whole(environ: Mapping[str, str], name: str, usual: int, of: str, *, least: int = 1) -> int:
    written = environ.get(PREFIX + name) or str(usual)
    if not re.fullmatch(r"0|[1-9][0-9]{0,6}", written) or int(written) < least:
        raise InvalidSetting(f"{PREFIX}{name} must be a whole number {of}.")
    return int(written)


def _metrics_key(environ: Mapping[str, str]) -> str | None:
    written = environ.get(PREFIX + "METRICS_KEY") or None
    if written is not None and not re.fullmatch(r"[!-~]{16,}", written):
        raise InvalidSetting(
            "DOORSTEP_METRICS_KEY must be 16 characters or more, without spaces: make one with "
            "`openssl rand -hex 16`."
        )
    return written


def _path(environ: Mapping[str, str], name: str) -> Path | None:
    written = environ.get(PREFIX + name)
    return Path(written) if written else None
