"""The entry of `clusterf-node`, which loads nothing before signals are in order.

Loading the rest takes up to a second, in which `systemctl reload` would end the node: SIGHUP and
SIGUSR2 kill a process that says nothing about them. What they ask for is done by the start itself.
A mask of blocked signals, which a careless parent leaves behind, would let SIGTERM wait for ever.
"""

import signal

__all__ = ["main"]


def main() -> None:
    """Run `clusterf-node`."""
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    from actors.main import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
