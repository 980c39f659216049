"""The tool `clusterf`: a command a module, and how its results are shown.

May import every other package of `clusterf`. Nothing that a node needs to run
is in here: no other package imports this one.
"""
