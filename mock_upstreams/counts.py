"""Counts how often each name was seen, in little memory for the names that runs use; it knows of nothing else."""

from __future__ import annotations

_STEP = 1 << 16
"""How far beyond the greatest number so far a name may lie to be taken for one of a row."""


class Counts:
    """How often each name was counted. Of names in a row (c1, c2, c3) each takes one byte, of others some hundred."""

    def __init__(self) -> None:
        self._rows: dict[str, bytearray] = {}
        self._others: dict[str, int] = {}

    def count(self, name: str) -> int:
        """Count ``name`` once more, and return how often it was counted by now."""
        head = name.rstrip("0123456789")
        number = name[len(head) :]
        if name not in self._others and 0 < len(number) < 9 and number[0] != "0":
            row = self._rows.get(head)
            if row is None:
                row = self._rows[head] = bytearray()
            place = int(number)
            if place >= len(row) and place - len(row) < _STEP:
                row.extend(bytes(place + 1 - len(row)))
            if place < len(row):
                if row[place] < 255:
                    row[place] += 1
                    return row[place]
                self._others[name] = 255
        self._others[name] = self._others.get(name, 0) + 1
        return self._others[name]
