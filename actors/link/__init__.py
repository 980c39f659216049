"""Links between processes: list-and-watch over socket pairs, and the messages that travel on them.

Imports `clusterf`. Independent of the actors at its ends.
"""
