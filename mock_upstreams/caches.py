"""Emulates a provider's prompt cache: which prefix of a request was seen before; it stores digests, never prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import orjson

from mock_upstreams.answer import Tokens, prompt_tokens

MOST_PREFIXES = 100_000


class PromptCache:
    """Remembers the prefixes that were sent to one upstream in one run. Nothing expires: a run is shorter than that."""

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}

    def tokens(self, body_bytes: int, pieces: Iterable[Any], breaks: Iterable[int], least: int) -> Tokens:
        """Return the input side of the usage of a request, and remember its prefixes.

        ``pieces`` are the prompt's parts in order, ``breaks`` the counts of pieces after which a prefix may be cached:
        the longest one seen before is read, what stands between it and the longest one is written, the rest is fresh
        input. Prefixes of fewer than ``least`` tokens are not cached.
        """
        total = prompt_tokens(body_bytes)
        wanted = set(breaks)
        digest = hashlib.sha256()
        size = read = longest = 0
        fresh: list[bytes] = []
        for count, piece in enumerate(pieces, 1):
            text = orjson.dumps(piece, option=orjson.OPT_SORT_KEYS)
            digest.update(text)
            size += len(text)
            if count not in wanted or prompt_tokens(size) < least:
                continue
            longest = min(prompt_tokens(size), total)
            key = digest.digest()[:16]
            if key in self._seen:
                read = longest
            else:
                fresh.append(key)
        for key in fresh:
            if len(self._seen) >= MOST_PREFIXES:
                self._seen.pop(next(iter(self._seen)))
            self._seen[key] = None
        return Tokens(input=total - longest, cached=read, written=longest - read)
