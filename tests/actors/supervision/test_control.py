import socket

from actors.supervision import control


def test_what_was_said_before_the_end_is_heard_though_the_sender_did_not_read_all():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        control.send(ours, control.Stop())  # which nobody reads
        control.send(theirs, control.Finished(3))
        theirs.close()
        assert control.receive(ours) == control.Finished(3)
        assert control.receive(ours) is None
