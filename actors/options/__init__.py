"""The flags of `clusterf-node`, in groups, and the settings file.

Imports `clusterf`. What the flags say together is `actors.settings`.
"""
