"""URLs of sources and of Docker engines, and endpoints, as flags have them."""

from clusterf.docker.engine import client_options
from clusterf.etcd.location import prefix_end
from clusterf.lib.addresses import parse_endpoint, parse_ip
from clusterf.lib.text import parse_node_name
from clusterf.sources.url import parse_source
from tests.fuzz.invariants import assert_printable
from tests.fuzz.target import Target, targets

__all__ = ["TARGETS"]


def _source(data: bytes) -> str:
    url = data.decode(errors="surrogateescape").replace("\0", "")  # as an argument of a command can be
    try:
        source = parse_source(url)
    except ValueError as error:
        return _invalid(error)
    assert source.url == url
    assert (source.tree is None) != (source.etcd is None)
    if source.tree is not None:
        assert source.tree.startswith("/")
        assert "\0" not in source.tree
        return "tree"
    assert source.etcd is not None
    location = source.etcd
    assert location.prefix.startswith(b"/")
    assert location.prefix.endswith(b"/")
    assert location.prefix < prefix_end(location.prefix)
    for endpoint in location.endpoints:
        assert_printable(endpoint)
        assert 0 < int(endpoint.rpartition(":")[2]) < 1 << 16
    return "etcd"


def _invalid(error: ValueError) -> str:
    assert str(error)
    return "invalid"


def _word(data: bytes) -> str:
    """Check the parsers of single words: each returns what is written again in the same way, or a reason."""
    text = data.decode(errors="surrogateescape")
    taken = []
    for parse in (parse_ip, parse_endpoint, parse_node_name, client_options):
        try:
            found = parse(text)
        except ValueError as error:
            _invalid(error)
            continue
        taken.append(parse.__name__)
        if parse is not client_options:
            assert parse(str(found)) == found
    return ", ".join(taken) or "invalid"


TARGETS = targets(
    {
        "url": Target(_source, ("clusterf.sources.url", "clusterf.etcd.location")),
        "word": Target(_word, ("clusterf.lib.addresses", "clusterf.lib.text")),
    }
)
