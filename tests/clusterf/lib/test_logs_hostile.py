"""Whatever a record holds: an event is one printable line, and nothing in it can pass for another event."""

import gc
import json
import logging
import re
import sys
import threading
import warnings
from select import PIPE_BUF

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clusterf.lib import logs
from clusterf.lib.text import escape, printable
from tests.examples import examples

HOSTILE = "x\nipvs noop: rm -rf /\r\n\x1b[2J\u202egnp\u2028ipvs: ipvsadm -C\x85\x9b\0"
FAKES = ("ipvs", "warning: ipvs", "error: ipvs")


@pytest.fixture(autouse=True)
def _restore_logging():
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    root.handlers = []
    yield
    root.handlers, root.level = handlers, level
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    logging.captureWarnings(False)


FORMS = pytest.mark.parametrize("form", ["text", "json"])


def lines_of(capsys):
    """Return the lines that were logged, which have to be printable, and none of which may be a fake."""
    out, err = capsys.readouterr()
    assert not out
    *lines, rest = err.split("\n")
    assert not rest
    for line in lines:
        assert printable(line) == line
        assert len(line.encode()) < PIPE_BUF
        for text in json.loads(line).values() if line.startswith("{") else [line]:
            assert not any(part.startswith(FAKES) for part in str(text).split("\n"))
    return lines


@FORMS
def test_text_in_a_message_stays_on_its_line(form, capsys):
    logs.set_up(form, "info")
    log = logging.getLogger("clusterf.test")
    log.info("etcd: %s", HOSTILE)
    (line,) = lines_of(capsys)
    assert r"etcd: x\x0aipvs noop: rm -rf /\x0d\x0a\x1b[2J\u202egnp\u2028ipvs: ipvsadm -C\u0085\u009b\x00" in (
        line.replace(r"\\", "\\")
    )


def test_escaped_name_is_not_escaped_again(capsys):
    logs.set_up("text", "info")
    logging.getLogger("clusterf.test").warning("%s: invalid", escape(b"a\\b\n\xff"))
    assert lines_of(capsys) == [r"warning: a\\b\x0a\xff: invalid"]


def test_each_of_many_events_is_one_line_with_its_level(capsys):
    logs.set_up("text", "info")
    logging.getLogger("clusterf.test").warning(logs.Lines(["one\ntwo", "three"]))
    assert lines_of(capsys) == [r"warning: one\x0atwo", "warning: three"]


@FORMS
def test_traceback_is_marked(form, capsys):
    logs.set_up(form, "info")
    log = logging.getLogger("clusterf.test")
    try:
        raise ValueError(HOSTILE) from OSError(2, "x", HOSTILE)
    except ValueError:
        log.exception("failed", stack_info=True)
    assert lines_of(capsys)


def test_long_traceback_is_shortened(capsys):
    logs.set_up("text", "info")
    try:
        raise ValueError("ipvs noop: x\n" * 100_000 + "ipvs noop: y" * 100_000)
    except ValueError:
        logging.getLogger("clusterf.test").exception("failed")
    first, *trace = lines_of(capsys)
    assert first == "error: failed"
    assert len(trace) < 250
    assert all(line.startswith("| ") for line in trace)


@FORMS
@pytest.mark.parametrize("char", ["ipvs noop: ipvsadm -C ", "é", '"', "\n"])
def test_line_that_a_pipe_would_tear_is_shortened(form, char, capsys):
    logs.set_up(form, "info")
    log = logging.getLogger("clusterf.test")
    log.info("docker: %s", char * 10_000)
    log.error("docker: %s", char * 10_000, exc_info=ValueError(char * 10_000))
    log.error("docker: %s", char, exc_info=ValueError(char * 10_000 + "\nend"))
    first, *others = lines_of(capsys)
    assert first.endswith(("…", '…"}'))
    assert re.search(r'end("|$)', others[-1])
    assert len(others) == 2 or form == "text"


def test_lines_of_libraries_begin_with_their_name(capsys):
    logs.set_up("text", "debug")
    logging.getLogger("urllib3.connectionpool").debug("ipvs noop: %s", "ipvsadm -C")
    logging.getLogger("asyncio").error("ipvs noop: ipvsadm -C")
    assert lines_of(capsys) == [
        "urllib3.connectionpool: ipvs noop: ipvsadm -C",
        "error: asyncio: ipvs noop: ipvsadm -C",
    ]


@FORMS
def test_line_that_cannot_be_formatted_is_reported_without_its_parts(form, capsys):
    logs.set_up(form, "info")
    logging.getLogger("clusterf.test").info("%d", HOSTILE)
    (line,) = lines_of(capsys)
    assert "log line lost: clusterf.test:" in line
    assert "TypeError" in line


def test_warning_of_python_is_one_line(capsys):
    logs.set_up("text", "info")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn(HOSTILE, stacklevel=1)
    (line,) = lines_of(capsys)
    assert line.startswith("warning: py.warnings: ")


def test_what_python_prints_of_failures_is_marked(monkeypatch, capsys):
    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, f"__{name}__"))
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    logs.set_up("text", "info")

    def fail():
        raise ValueError(HOSTILE)

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()

    class Bad:
        def __del__(self):
            fail()

    Bad()
    gc.collect()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    begun = [line for line in lines_of(capsys) if not line.startswith("| ")]
    assert begun[0].startswith("critical: thread worker failed: ValueError(")
    assert begun[1].startswith("error: ")
    assert begun[1].endswith("(ignored)")
    assert begun[2:] == ["critical: process failed: ValueError"]


texts = st.one_of(st.text(), st.binary().map(lambda raw: raw.decode(errors="surrogateescape")), st.just(HOSTILE))


@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts, kind=st.sampled_from(["message", "argument", "repr", "error", "lines"]), level=st.integers(10, 50))
@example(text="\n", kind="message", level=20)
@example(text="\ud800", kind="error", level=40)
def test_any_text_is_one_printable_line(text, kind, level, capsys):
    for form in ("text", "json"):
        logs.set_up(form, "debug")
        log = logging.getLogger("clusterf.test")
        match kind:
            case "message":
                log.log(level, text.replace("%", "%%"), *())
            case "argument":
                log.log(level, "x: %s", text)
            case "repr":
                log.log(level, "x: %r", ValueError(text))
            case "error":
                log.log(level, "x", exc_info=ValueError(text))
            case "lines":
                log.log(level, logs.Lines([text, "x"]))
        *lines, rest = capsys.readouterr().err.split("\n")
        assert not rest
        assert all(printable(line) == line for line in lines)
        own = [line for line in lines if not line.startswith("| ")]
        assert len(own) == (2 if kind == "lines" else 1)
