"""The Host header: each HTTP/1.1 request must have exactly one, with a valid host (RFC 9112, section 3.2).

Folio itself does not use its value. A proxy in front may use it. If proxy and server read it differently, a request can
reach the wrong site.
"""

import re

# RFC 3986, section 3.2.2: an address in brackets, or a name or address without brackets, and an optional port. It may
# be empty.
_HOST = re.compile(
    rb"(\[[0-9A-Za-z:.]+\]"
    rb"|\[v[0-9A-Fa-f]+\.[0-9A-Za-z\-._~!$&'()*+,;=:]+\]"
    rb"|([0-9A-Za-z\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*"
    rb")(:[0-9]*)?"
)

# The HTTP versions whose requests need no Host header.
WITHOUT_HOST = frozenset({"0.9", "1.0"})


def wrong_host(headers: list[tuple[bytes, bytes]], version: str) -> str | None:
    """Return the error of the Host header among `headers`, whose names are in lower case; None if it is valid."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1:
        return f"a request should have one Host header, and this one has {len(hosts)}"
    if not hosts:
        return None if version in WITHOUT_HOST else f"an HTTP/{version} request should have a Host header"
    return None if _HOST.fullmatch(hosts[0].strip(b" \t")) else "the Host header should be a host, or host:port"
