"""Following a source of configuration, its last good values, and several sources on top of each other.

A source is a file tree or a prefix in etcd. Imports `config`, `etcd` and `lib`.
What objects mean together is decided in `director`.
"""
