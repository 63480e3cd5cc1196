"""Which certificate authorities are trusted. Apps on phones often come with none at all."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from doorstep._errors import NoTrustStore


def trusted_context() -> ssl.SSLContext:
    """SSL_CERT_FILE, else certifi when it is there, else the system's store.

    Python's default context silently loads no authority on Android and iOS: that is an error here.
    """
    cafile = os.environ.get("SSL_CERT_FILE") or _certifi()
    context = _context(cafile)
    if context is None or not (_has_authorities(context) or (not cafile and _has_directory())):
        raise NoTrustStore
    context.set_alpn_protocols(["http/1.1"])
    return context


def _context(cafile: str | None) -> ssl.SSLContext | None:
    try:
        return ssl.create_default_context(cafile=cafile)
    except OSError:  # the file is missing, or holds no certificate
        return None


def _certifi() -> str | None:
    try:
        import certifi  # noqa: PLC0415 (optional)
    except ImportError:
        return None
    return str(certifi.where())


def _has_authorities(context: ssl.SSLContext) -> bool:
    return context.cert_store_stats()["x509_ca"] > 0


def _has_directory() -> bool:
    """OpenSSL reads a directory of certificates only when it needs one: look into it ourselves."""
    directory = ssl.get_default_verify_paths().capath
    return bool(directory) and Path(directory).is_dir() and any(Path(directory).iterdir())
