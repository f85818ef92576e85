"""The header Host: each request of HTTP/1.1 has one, whose value is a host (RFC 9112, section 3.2).

Folio itself does not ask what it says. But who stands in front may, and where the two read it differently, one of them
answers for somebody else.
"""

import re

# RFC 3986, section 3.2.2: an address in brackets, or a name or address without; a port may follow. It may be empty.
_HOST = re.compile(
    rb"(\[[0-9A-Za-z:.]+\]"
    rb"|\[v[0-9A-Fa-f]+\.[0-9A-Za-z\-._~!$&'()*+,;=:]+\]"
    rb"|([0-9A-Za-z\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*"
    rb")(:[0-9]*)?"
)

# The versions whose requests need no Host.
WITHOUT_HOST = frozenset({"0.9", "1.0"})


def wrong_host(headers: list[tuple[bytes, bytes]], version: str) -> str | None:
    """Return what is wrong with the header Host of a request, for people; None where nothing is.

    Args:
        headers: of the request, with names in lower case.
        version: of HTTP, as in the request's first line.
    """
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1:
        return f"the header Host should stand once, and stands {len(hosts)} times"
    if not hosts:
        return None if version in WITHOUT_HOST else f"a request of HTTP/{version} should have the header Host"
    return None if _HOST.fullmatch(hosts[0].strip(b" \t")) else "the header Host should be a host, or host:port"
