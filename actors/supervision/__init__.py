"""The supervisor of a node, its child processes, and what they say to each other.

Imports `node` and what is below it. The supervisor has no actors and no threads.
"""
