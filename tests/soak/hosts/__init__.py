"""The soak of Docker hosts: real engines with nodes that publish their containers, and a director in the lab's guest.

    director (guest) ─┐
    etcd ─────────────┼─ switch ─┬─ host 1 ── containers
                                 └─ host 2 ── containers

Each is a network namespace of this machine, or is connected to one: see `network`.
"""
