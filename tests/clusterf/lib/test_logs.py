import logging
import os
import re
import sys
from select import PIPE_BUF

import msgspec
import pytest

from clusterf.lib import logs


@pytest.fixture(autouse=True)
def _restore_root_logger():
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("pykka").setLevel(logging.NOTSET)
    logging.captureWarnings(False)
    sys.excepthook = sys.__excepthook__


def test_text_lines_show_levels_from_warning_on(capsys):
    logs.set_up("text", "info")
    log = logging.getLogger("clusterf.test")
    log.debug("not shown")
    log.info("ipvs: ipvsadm -A -t 10.1.1.1:80 -s %s", "wlc")
    log.warning("careful")
    log.error("bad")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "ipvs: ipvsadm -A -t 10.1.1.1:80 -s wlc\nwarning: careful\nerror: bad\n"


def test_json_lines_hold_every_field(capsys):
    logs.set_up("json", "debug")
    try:
        raise ValueError("no\nluck")
    except ValueError:
        logging.getLogger("clusterf.test").exception('a "quoted"\nline')
    line = msgspec.json.decode(capsys.readouterr().err)
    assert line["level"] == "error"
    assert line["logger"] == "clusterf.test"
    assert line["message"] == r'a "quoted"\x0aline'
    assert line["exception"].endswith("\n| ValueError: no\n| luck")
    assert line["time"].endswith("+00:00")
    assert line["pid"] > 0


@pytest.mark.parametrize("form", ["text", "json"])
def test_name_that_is_not_utf8_is_logged(form, capsys):
    logs.set_up(form, "info")
    logging.getLogger("clusterf.test").error("no such file: %s", b"\xff".decode(errors="surrogateescape"))
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "no such file: " in err


@pytest.mark.parametrize("form", ["text", "json"])
def test_exception_with_a_name_that_is_not_utf8_is_logged(form, capsys):
    logs.set_up(form, "info")
    try:
        raise ValueError(b"\xff".decode(errors="surrogateescape"))
    except ValueError:
        logging.getLogger("clusterf.test").exception("failed")
    err = capsys.readouterr().err
    assert "failed" in err
    assert "ValueError: \\" in err
    assert "Logging error" not in err


def test_second_set_up_replaces_the_first(capsys):
    logs.set_up("json", "debug")
    logs.set_up("text", "error")
    logging.getLogger("clusterf.test").warning("not shown")
    logging.getLogger("clusterf.test").error("shown")
    assert capsys.readouterr().err == "error: shown\n"


def test_pykka_logs_only_warnings(capsys):
    logs.set_up("text", "debug")
    logging.getLogger("pykka").info("Starting something")
    assert capsys.readouterr().err == ""


def test_lines_are_one_event_each(capsys):
    for form in ("text", "json"):
        logs.set_up(form, "info")
        logging.getLogger("clusterf.test").info(logs.Lines(["one", "two % three"]))
    *text, first, second = capsys.readouterr().err.splitlines()
    assert text == ["one", "two % three"]
    events = [msgspec.json.decode(line) for line in (first, second)]
    assert [event.pop("message") for event in events] == ["one", "two % three"]
    assert events[0] == events[1]
    assert events[0]["logger"] == "clusterf.test"


@pytest.mark.parametrize("form", ["text", "json"])
def test_many_lines_are_few_writes_that_a_pipe_keeps_whole(form, monkeypatch):
    writes = []
    logs.set_up(form, "info")
    (handler,) = logging.getLogger().handlers
    monkeypatch.setattr(handler._output, "write", lambda text, _: writes.append(text))
    events = logs.Lines(f"event {number} é" for number in range(1000))

    logging.getLogger("clusterf.test").info(events)
    logging.getLogger("clusterf.test").info("é" * PIPE_BUF)

    *many, one = writes
    assert all(write.endswith("\n") and len(write.encode()) <= PIPE_BUF for write in many)
    assert all(len(write.encode()) > PIPE_BUF / 2 for write in many[:-1])
    assert "".join(many).count("\n") == len(events)
    assert len(one.encode()) <= PIPE_BUF
    assert "éé…" in one


@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_that_nobody_reads_are_dropped_and_counted(form, monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(logs, "_PATIENCE", 0.05)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        logs.set_up(form, "info")
        log = logging.getLogger("clusterf.test")
        for number in range(200):
            log.info("%d %s", number, "x" * 2000)
        read = os.read(reader, 1 << 20).decode()
        log.info("read again")
        rest = os.read(reader, 1 << 20).decode()
    os.close(reader)
    written, dropped = (
        (read + rest).count("x" * 2000),
        re.findall(r"(\d+) lines dropped, as nobody read standard err", read + rest),
    )
    assert 10 < written < 200
    assert sum(map(int, dropped)) == 200 - written
    assert "read again" in rest.splitlines()[-1]
