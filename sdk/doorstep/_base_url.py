"""Where the server is. Positions travel there, so not in the clear."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def parse_base_url(base_url: str, *, allow_insecure: bool) -> str:
    """Check an address and give it without its last slash. The messages do not repeat it."""
    parts = _split(base_url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("base_url must be an address such as https://doorstep.example")
    if parts.username is not None or parts.password is not None:
        raise ValueError("base_url must not hold a user or password: pass token= instead")
    if parts.query or parts.fragment:
        raise ValueError("base_url must not hold a query or fragment: leave out ? and #")
    if parts.scheme == "http" and not (allow_insecure or _is_loopback(parts.hostname)):
        raise ValueError(
            "base_url must be https: positions and the token would travel in the clear. "
            "For a test network of your own, pass allow_insecure=True"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _split(base_url: str) -> SplitResult | None:
    if not base_url.isascii() or not base_url.isprintable() or " " in base_url:
        return None
    try:
        parts = urlsplit(base_url)
        _ = parts.port  # read late, and refused when it is no number
    except ValueError:
        return None
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    numbers = host.split(".")
    if all(one.isdecimal() for one in numbers):
        return len(numbers) == 4 and numbers[0] == "127" and max(map(int, numbers)) < 256

    from ipaddress import ip_address  # noqa: PLC0415 (slow to import, and rarely needed)

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
