"""Keys in etcd that are attached to a lease, and so exist for as long as the node that publishes them.

Imports `etcd` and `lib`. What the keys are is the caller's business.
"""
