"""What every actor and every process of a node has in common.

Imports `link`, `options`, `settings` and `clusterf`; no actor of a particular process.
"""
