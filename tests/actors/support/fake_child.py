"""Stands for `actors.supervision.child`: `python fake_child.py MODE FILE FD`. Writes a line to FILE for each life."""

import faulthandler
import os
import signal
import socket
import sys
import time
from pathlib import Path

from actors.base.messages import Ping
from actors.supervision import control

mode, file, descriptor = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
faulthandler.register(signal.SIGUSR1)
connection = socket.socket(fileno=descriptor)
begin = control.receive(connection)
with file.open("a") as lives:
    lives.write(f"{os.getpid()} {begin.settings.flush}\n")
lived = len(file.read_text().splitlines())
if mode == "crash" or (mode == "crash once" and lived == 1):
    sys.exit(70)
if mode == "crash if dispensable":
    mode = "answer and crash" if begin.name == "health" else "answer"
if mode == "flush and crash":
    control.send(connection, control.Flushed() if lived == 1 else control.Finished(0))
    sys.exit(70 if lived == 1 else 0)
if mode == "rubbish" and lived == 1:
    connection.send(b"rubbish")
if mode == "finish" or (mode == "crash once" and lived > 1):
    control.send(connection, control.Finished(3))
while message := control.receive(connection):
    if isinstance(message, control.Stop):
        break
    if isinstance(message, Ping):
        if mode == "starve":
            # last in the queue of the CPU on which the test keeps another process busy
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            begun = time.process_time()
            while time.process_time() < begun + 0.05:
                pass
        if mode == "stuck" and lived == 1:
            time.sleep(100)
        if mode == "answer and crash":
            control.send(connection, control.Pong())
            sys.exit(70)
        control.send(connection, control.Pong() if lived == 1 or mode in {"answer", "starve"} else control.Finished(5))
if mode == "deaf":
    time.sleep(100)
