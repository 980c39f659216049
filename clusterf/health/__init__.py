"""What to probe, when, and what follows from the results.

Pure, save for `probes/`, `references.py` and `verdict_store.py` at the edge: time
is an argument. Imports `config`, `host` and `lib`. What a verdict does to a
weight is not decided here but in `director`.
"""
