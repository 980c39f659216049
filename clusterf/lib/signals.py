"""Signals as Docker writes them: by number, or by name, with SIG or without."""

import re
from signal import Signals
from typing import Final

__all__ = ["signal_number"]

_NAME: Final = re.compile(r"(?:SIG)?([A-Z]+[0-9]?)([+-][0-9]{1,2})?")
_REAL_TIME: Final = {"RTMIN": 34, "RTMAX": 64}  # as Docker and the C library number them


def signal_number(text: str) -> int:
    """Return the number of the signal that `text` names, such as `15`, `TERM`, `SIGRTMIN+3`; 0: none."""
    text = text.strip().upper()
    if re.fullmatch(r"[0-9]{1,2}", text, re.ASCII):
        return int(text)
    match = _NAME.fullmatch(text)
    if match is None:
        return 0
    name, offset = match[1], match[2]
    if name in _REAL_TIME:
        return _REAL_TIME[name] + int(offset or 0)
    known = Signals.__members__.get(f"SIG{name}")
    return int(known) if known is not None and offset is None else 0
