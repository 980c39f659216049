"""The supervisor of a node, its child processes, and the messages between them.

Imports `node` and what is below it. The supervisor has no actors, and one thread, which passes on what its
children log.
"""
