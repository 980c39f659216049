"""What to probe, when, and what follows from the results.

Pure, save for `probes/` and the stores and references at the edge: time is an
argument. Imports `config` and `lib`. What a verdict does to a weight is not
decided here but in `director`.
"""
