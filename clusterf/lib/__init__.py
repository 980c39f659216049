"""Tools that know nothing of load balancing: addresses, text, a store, logs, back-off, jitter.

Imports nothing of ours. What needs a word of the field belongs to another package.
"""
