"""What the actors and processes of a node have in common.

Imports `link`, `settings` and `clusterf`; no actor of a particular process.
"""
