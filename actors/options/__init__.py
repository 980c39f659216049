"""The flags of `clusterf-node`, in groups, and the settings file.

Imports `clusterf`. Their values together are `actors.settings`.
"""
