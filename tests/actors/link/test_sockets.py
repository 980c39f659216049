import socket
import threading

from actors.link.sockets import shut_down
from tests.actors.support.link import backend, publishing, subscribed
from tests.waiting import wait_until


def test_socket_path_may_be_longer_than_sun_path(tmp_path, recorder_ref, recorder):
    directory = tmp_path / ("d" * 200) / ("e" * 200)
    directory.mkdir(parents=True)
    with publishing(directory / "s.sock", backend(1)), subscribed(directory / "s.sock", recorder_ref):
        wait_until(lambda: recorder.syncs)


def test_shut_down_wakes_a_thread_that_waits_for_a_connection(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        failures = []

        def accept():
            try:
                listener.accept()
            except OSError as error:
                failures.append(error)

        thread = threading.Thread(target=accept)
        thread.start()
        while thread.is_alive():
            shut_down(listener)
            thread.join(0.1)
        assert failures


def test_shut_down_of_a_closed_socket_does_nothing():
    closed = socket.socket(socket.AF_UNIX)
    closed.close()
    shut_down(closed)
