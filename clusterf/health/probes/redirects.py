"""Where a redirect leads: to another path, port or name, but always at the target's own address."""

import re
from typing import Final

from yarl import URL

from clusterf.health.probes.http_request import PORTS, HttpRequest

__all__ = ["REDIRECTS", "BadRedirect", "next_request"]

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LONGEST: Final = 8192  # characters
_LONGEST_NAME: Final = 300  # bytes, with the scheme; 253 is the longest of a name (RFC 1035)
_AUTHORITY: Final = re.compile(r"[^/?#]*//[^/?#]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PRINTABLE: Final = re.compile(r"[!-~]+")
_CREDENTIALS: Final = {"authorization", "cookie", "proxy-authorization"}


class BadRedirect(ValueError):
    """A redirect cannot be followed; the text is the reason."""


def next_request(request: HttpRequest, status: int, location: str) -> HttpRequest:
    """Return the request that follows a response to `request` with `status` and `location`. Raises BadRedirect.

    A redirect to the same name keeps the port of the request, as the target may
    listen on another one than its clients use. Credentials are kept for the
    same name and port only.
    """
    # (some control characters are taken out of a URL before it is parsed, which the name would be found behind)
    if len(location) > _LONGEST or _CONTROL.search(location):
        raise BadRedirect("redirects: invalid URL")
    # (what is not ASCII in a name, where RFC 3986 has none, takes a second to be normalised for 30 KB of it)
    name = _AUTHORITY.match(location)
    if name is not None and len(name[0].encode(errors="replace")) > _LONGEST_NAME:
        raise BadRedirect("redirects: invalid URL")
    try:
        here = URL(f"{request.scheme}://{request.host.lower()}{request.path}", encoded=True)
        there = here.join(URL(location))
        same_origin = here.origin() == there.origin()
        port, host = (request.port, request.host) if same_origin else (there.port, there.host_port_subcomponent or "")
    except ValueError:
        raise BadRedirect("redirects: invalid URL") from None
    path = there.raw_path_qs
    if there.scheme not in PORTS or not port or not _PRINTABLE.fullmatch(host) or not _PRINTABLE.fullmatch(path):
        raise BadRedirect("redirects: not an HTTP URL")
    headers = tuple(one for one in request.headers if same_origin or one[0].lower() not in _CREDENTIALS)
    if (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST"):
        headers = tuple(one for one in headers if not one[0].lower().startswith("content-"))
        return HttpRequest(there.scheme, port, host, "GET", path, headers, b"")
    return HttpRequest(there.scheme, port, host, request.method, path, headers, request.body)
