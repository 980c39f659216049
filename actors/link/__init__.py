"""Links between processes: list-and-watch over a Unix socket, and the messages that travel on them.

Imports `clusterf`. Independent of the actors at its ends.
"""
