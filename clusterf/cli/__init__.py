"""The tool `clusterf`: one module per command, and the forms of its output.

May import every other package of `clusterf`; none imports this one, as a node
runs without it.
"""
