import socket
import threading

from actors.link.sockets import shut_down


def test_shut_down_wakes_a_thread_that_waits_for_data():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        received = []
        thread = threading.Thread(target=lambda: received.append(ours.recv(1)))
        thread.start()
        while thread.is_alive():
            shut_down(ours)
            thread.join(0.1)
        assert received == [b""]


def test_shut_down_of_a_closed_socket_does_nothing():
    closed = socket.socket(socket.AF_UNIX)
    closed.close()
    shut_down(closed)
