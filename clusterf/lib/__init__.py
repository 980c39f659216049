"""Tools that know nothing of load balancing: addresses, text, a store, logs, back-off, jitter.

Imports no other package. Code that needs a term of load balancing belongs elsewhere.
"""
