"""Where an answer sends a probe to: another path, port or name, but always at the target's own address."""

import re
from typing import Final

from yarl import URL

from clusterf.health.probes.http_request import PORTS, Request

__all__ = ["REDIRECTS", "BadRedirect", "follow"]

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FIT: Final = re.compile(r"[!-~]+")  # to be sent
_CREDENTIALS: Final = {"authorization", "cookie", "proxy-authorization"}


class BadRedirect(ValueError):
    """An answer sends the probe to where it cannot go; the text is the reason."""


def follow(request: Request, status: int, location: str) -> Request:
    """Return the request that comes after `request` was answered so. Raises BadRedirect.

    While the name is the same, so is the port, as the target may have another
    one than its clients know of. Credentials go to the same name and port only.
    """
    try:
        here = URL(f"{request.scheme}://{request.host.lower()}{request.path}", encoded=True)
        there = here.join(URL(location))
        stays = here.origin() == there.origin()
        port, host = (request.port, request.host) if stays else (there.port, there.host_port_subcomponent or "")
    except ValueError:
        raise BadRedirect("redirects: not to a URL") from None
    if there.scheme not in PORTS or not port or not _FIT.fullmatch(host) or not _FIT.fullmatch(there.raw_path_qs):
        raise BadRedirect("redirects: not to HTTP")
    asks_anew = (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST")
    return Request(
        there.scheme,
        port,
        host,
        "GET" if asks_anew else request.method,
        there.raw_path_qs,
        tuple(
            (name, text)
            for name, text in request.headers
            if (stays or name.lower() not in _CREDENTIALS) and not (asks_anew and name.lower().startswith("content-"))
        ),
        b"" if asks_anew else request.body,
    )
