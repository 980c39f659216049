"""The configuration: its keys, its values, and the way from JSON to them and back.

Each object is parsed once, here, into a frozen value; each error becomes a
`Problem` that names the key and the field. Imports `ipvs` (for the
names of schedulers, flags and methods) and `lib`. No I/O: where objects come
from is up to `sources`.
"""
