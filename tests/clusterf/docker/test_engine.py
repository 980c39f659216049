"""The client of an engine, against servers on Unix sockets with valid and invalid answers."""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from queue import SimpleQueue

import pytest
import trustme

from clusterf.docker import engine as engine_module
from clusterf.docker.engine import LONGEST_REASON, Engine, EngineError, Refused, client_options
from clusterf.lib.text import printable
from tests.clusterf.support.hostile_etcd import HOSTILE

EVENT = '{"Type": "container", "Action": "start", "Actor": {"ID": "c1", "Attributes": {"name": "wéb"}}}\n'.encode()
DATE = "Sun, 22 Nov 2026 18:57:05 GMT"


class Server(socketserver.ThreadingUnixStreamServer):
    """Answers by path: a status and a body, or a queue whose items are the chunks of one; None: it never ends."""

    daemon_threads = True

    def __init__(self, path):
        super().__init__(str(path), Handler)
        self.url = f"unix://{path}"
        self.date = DATE
        self.answers = {"/version": (200, b'{"ApiVersion": "1.45"}'), "/_ping": (200, b"OK")}
        self.asked = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return self.server.date

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.answers[self.path.partition("?")[0]]
        if isinstance(answer, tuple):
            status, body = answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while (chunk := answer.get()) is not None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.close_connection = True


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "docker.sock") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def engine(server):
    with Engine(server.url) as engine:
        yield engine


@pytest.fixture
def stream(server):
    """The chunks of the event stream."""
    queue = server.answers["/v1.45/events"] = SimpleQueue()
    yield queue
    queue.put(None)


@pytest.mark.parametrize("cut", [1, EVENT.index(b"\xc3") + 1, len(EVENT) - 1, len(EVENT), len(EVENT) + 5])
def test_events_are_the_same_however_they_are_split_into_chunks(engine, stream, cut):
    text = EVENT * 2
    stream.put(text[:cut])
    stream.put(text[cut:])
    events = engine.events("0")
    assert [next(events), next(events)] == [EVENT.strip()] * 2


def test_event_is_yielded_as_soon_as_it_arrives(engine, stream):
    events = engine.events("7.000000001")
    stream.put(EVENT)
    assert next(events) == EVENT.strip()


def test_past_events_are_asked_for_by_time_and_end(engine, server):
    server.answers["/v1.45/events"] = (200, EVENT * 3)
    assert list(engine.events("7.000000001", "9")) == [EVENT.strip()] * 3
    assert "since=7.000000001&until=9" in server.asked[-1]


def test_closing_wakes_up_a_thread_that_waits_for_events(engine, stream):
    outcome = SimpleQueue()

    def wait():
        try:
            outcome.put(list(engine.events("0")))
        except EngineError as error:
            outcome.put(error)

    thread = threading.Thread(target=wait)
    thread.start()
    stream.put(EVENT)
    while engine._stream is None:
        thread.join(0.01)
    engine.close()
    outcome.get(timeout=5)
    thread.join(5)
    assert not thread.is_alive()


def test_endless_event_is_an_error(engine, stream, monkeypatch):
    monkeypatch.setattr(engine_module, "LONGEST", 100)
    stream.put(b"x" * 101)
    with pytest.raises(EngineError, match="longer than 100 bytes"):
        next(engine.events("0"))


def test_silent_event_stream_is_an_error(server, stream, monkeypatch):
    monkeypatch.setattr(engine_module, "SILENCE", 0.1)
    with Engine(server.url) as engine, pytest.raises(EngineError):
        next(engine.events("0"))


def test_broken_event_stream_is_an_error(engine, stream):
    stream.put(EVENT)
    stream.put(None)  # without the chunk that would be the last
    events = engine.events("0")
    next(events)
    with pytest.raises(EngineError):
        next(events)


def test_missing_container_is_none_and_other_refusals_are_errors(engine, server):
    server.answers["/v1.45/containers/c1/json"] = (404, b'{"message": "No such container: c1"}')
    server.answers["/v1.45/networks/n1"] = (404, b'{"message": "network n1 not found"}')
    server.answers["/v1.45/containers/c2/json"] = (500, b'{"message": "layer does not exist"}')
    assert engine.inspect("container", "c1") is None
    assert engine.inspect("network", "n1") is None
    with pytest.raises(Refused, match=r"^layer does not exist$"):
        engine.inspect("container", "c2")


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ((200, b'{"ID": "E"}'), "E"),
        ((200, b'{"ID": 7}'), ""),
        ((200, b"{}"), ""),
        ((200, b"[]"), ""),
        ((200, b"not JSON"), ""),
        ((403, b'{"message": "forbidden"}'), ""),
    ],
)
def test_engine_has_a_name_if_it_says_one(engine, server, answer, name):
    server.answers["/v1.45/info"] = answer
    assert engine.id() == name


def test_text_of_a_refusal_is_one_printable_line(engine, server):
    server.answers["/v1.45/containers/c1/json"] = (500, json.dumps({"message": HOSTILE * 100}).encode())
    with pytest.raises(Refused) as refused:
        engine.inspect("container", "c1")
    assert str(refused.value) == printable(str(refused.value))
    assert len(str(refused.value)) == LONGEST_REASON


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"7", b"not JSON"])
def test_malformed_refusal_is_an_error(engine, server, body):
    server.answers["/v1.45/containers/c1/json"] = (404, body)
    try:
        assert engine.inspect("container", "c1") is None
    except EngineError:
        assert body != b"not JSON"


def test_late_answer_is_a_refusal(server, monkeypatch):
    monkeypatch.setattr(engine_module, "CALL", 0.1)
    server.answers["/v1.45/containers/c1/json"] = SimpleQueue()
    with Engine(server.url) as engine:
        with pytest.raises(EngineError):
            engine.inspect("container", "c1")
        server.answers["/v1.45/containers/c1/json"].put(None)


@pytest.mark.parametrize("body", [b"{", b"null", b"{}", b"\xff", b""])
def test_malformed_list_is_an_error(engine, server, body):
    server.answers["/v1.45/containers/json"] = server.answers["/v1.45/networks"] = (200, body)
    with pytest.raises(EngineError):
        engine.containers()
    with pytest.raises(EngineError):
        engine.networks()


def test_clock_is_that_of_the_engine(engine, server):
    assert engine.clock() == 1795373825
    server.date = "noon"
    with pytest.raises(EngineError, match="no Date header"):
        engine.clock()


@pytest.mark.parametrize(
    "body",
    [b"{", b"{}", b'{"ApiVersion": 7}', b'{"ApiVersion": "x"}', b'{"ApiVersion": "0.1"}', b'{"ApiVersion": "1.45\\n"}'],
)
def test_malformed_version_is_an_error(server, body):
    server.answers["/version"] = (200, body)
    with pytest.raises(EngineError):
        Engine(server.url)


def test_another_connection_uses_the_same_version_without_asking(engine, server):
    with engine.another() as another:
        assert another.version == "1.45"
    assert server.asked == ["/version"]


# the SDK does not close a socket that it could not connect
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("url", "reason"), [("unix:///no/such.sock", "No such file or directory"), ("tcp://127.0.0.1:9", "refused")]
)
def test_unreachable_engine_is_an_error_with_the_reason(url, reason):
    with pytest.raises(EngineError, match=reason):
        Engine(url)


PLAIN = {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("url", "environment", "base_url"),
    [
        (None, PLAIN, "unix:///var/run/docker.sock"),
        (None, {"DOCKER_HOST": "tcp://host:2375"}, "tcp://host:2375"),
        (None, {"DOCKER_HOST": ""}, "unix:///var/run/docker.sock"),
        ("unix:///x", {"DOCKER_HOST": "tcp://host:2375"}, "unix:///x"),
        ("tcp://[::1]:2375", PLAIN, "tcp://[::1]:2375"),
    ],
)
def test_endpoint_is_the_given_one_else_that_of_the_environment(url, environment, base_url):
    assert client_options(url, environment) == {"base_url": base_url}


@pytest.mark.parametrize(
    "url", ["ssh://host", "tcp://host", "npipe:////x", "x", "unix://", "tcp://h:1/ y", "tcp://h:x"]
)
def test_invalid_endpoint_is_refused(url):
    with pytest.raises(ValueError):
        client_options(url, PLAIN)


def test_tls_is_configured_by_the_environment(tmp_path):
    environment = {"DOCKER_HOST": "tcp://host:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    with pytest.raises(ValueError, match="certificate"):
        client_options(None, environment)
    authority = trustme.CA()
    issued = authority.issue_cert("client")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    tls = client_options(None, environment)["tls"]
    assert (tls.verify, tls.ca_cert) == (True, str(tmp_path / "ca.pem"))
