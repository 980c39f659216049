"""What etcd's replies must be before they are believed.

What answers may be broken, or be no etcd at all: without TLS, anybody on the way. A reply
that is not one to the question is an EtcdError, so that its caller reports it, keeps what
it has, and tries the next endpoint.
"""

from collections.abc import Sequence
from typing import Any

from clusterf.etcd.errors import EtcdError

__all__ = ["check_token", "granted", "header_of", "refusal_of", "remaining", "renewed", "responses_of"]

_LAST_REVISION = (1 << 63) - 1
_LONGEST_TTL = 9_000_000_000  # seconds; etcd grants no more
_LONGEST_TOKEN = 8 << 10  # bytes; larger headers are refused by servers


def header_of(reply: Any) -> Any:
    """Return the header of a reply, which has the revision of the store. Raises EtcdError."""
    # (one more than the last that there can be is no number to watch from)
    if not reply.HasField("header") or not 0 < reply.header.revision < _LAST_REVISION:
        raise EtcdError("invalid reply: no revision")
    return reply.header


def responses_of(reply: Any, operations: Sequence[Any]) -> Sequence[Any]:
    """Return the responses of a transaction without conditions, one for each operation. Raises EtcdError."""
    kinds = [operation.WhichOneof("request").removeprefix("request_") for operation in operations]
    found = [(response.WhichOneof("response") or "").removeprefix("response_") for response in reply.responses]
    if not reply.succeeded or found != kinds:
        raise EtcdError("invalid reply: not the responses to the transaction")
    responses: Sequence[Any] = reply.responses
    return responses


def refusal_of(response: Any, name: bytes) -> tuple[int, int] | None:
    """Return why a conditional put was not done: the lease and the last revision of the key; 0, 0: it is absent.

    None: it was done. Raises EtcdError.
    """
    reply = response.response_txn
    if reply.succeeded:
        return None
    (look,) = reply.responses if len(reply.responses) == 1 else (None,)
    if look is None or look.WhichOneof("response") != "response_range" or len(look.response_range.kvs) > 1:
        raise EtcdError("invalid reply: neither a put nor the key as it is")
    for kv in look.response_range.kvs:
        if kv.key != name or kv.mod_revision <= 0:
            raise EtcdError("invalid reply: keys that were not asked for")
        return kv.lease, kv.mod_revision
    return 0, 0


def granted(reply: Any, ttl: int) -> int:
    """Return the id of a lease for which `ttl` seconds were asked. Raises EtcdError."""
    if reply.error or reply.ID <= 0 or not ttl <= reply.TTL <= _LONGEST_TTL:
        raise EtcdError(f"invalid reply: lease {reply.ID} with a TTL of {reply.TTL} seconds, {ttl} were asked for")
    return int(reply.ID)


def renewed(reply: Any, lease: int) -> int:
    """Return the TTL that a lease has now, 0 if it is gone. Raises EtcdError."""
    if lease != reply.ID or not 0 <= reply.TTL <= _LONGEST_TTL:
        raise EtcdError(f"invalid reply: lease {reply.ID} with a TTL of {reply.TTL} seconds, {lease} was kept alive")
    return int(reply.TTL)


def remaining(reply: Any, lease: int) -> tuple[int, int]:
    """Return for how many seconds a lease lives on, and for how many it was granted; 0, 0: it is gone.

    Raises EtcdError.
    """
    # (one that is about to be revoked has less than no time left)
    known = 0 < reply.grantedTTL <= _LONGEST_TTL and reply.TTL <= _LONGEST_TTL
    if lease != reply.ID or not (known or (reply.grantedTTL == 0 and reply.TTL < 0)):
        raise EtcdError(f"invalid reply: lease {reply.ID} lives for {reply.TTL} seconds, {lease} was asked for")
    return max(0, int(reply.TTL)), int(reply.grantedTTL)


def check_token(token: str) -> str:
    """Return an authentication token that can be sent back. Raises EtcdError."""
    if not token or not token.isascii() or not token.isprintable() or len(token) > _LONGEST_TOKEN:
        raise EtcdError("invalid reply: not an authentication token")
    return token
