"""Takes out of a text what no client, log or upstream may read: keys, credentials and addresses; it adds nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from harness.gateway.deployment import Deployment

REDACTED = "[redacted]"
_LETTERS = r"[A-Za-z0-9._~+/=-]"
_KEYS = re.compile(rf"(?<![A-Za-z0-9])(?:ck_{_LETTERS}+|sk-{_LETTERS}{{8,}}|Bearer\s+{_LETTERS}{{16,}})")
_ADDRESSES = re.compile(
    r"[a-z][a-z0-9+.-]*://[^\s\"'<>]*[^\s\"'<>.,;:!?)]|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", re.IGNORECASE
)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]+")


class Redactor:
    """Knows the deployment's own credentials and hosts by exact text, customers' keys and other addresses by shape."""

    def __init__(self, deployment: Deployment) -> None:
        upstreams = deployment.upstreams.values()
        hosts = [urlsplit(url) for upstream in upstreams for url in (upstream.openai, upstream.anthropic)]
        self._secrets = _any_of(upstream.credential for upstream in upstreams)
        # A bare name without a dot is a word like any other ("primary"): only with its port is it an address.
        self._hosts = _any_of(
            part for host in hosts for part in (host.netloc, host.hostname or "") if "." in part or ":" in part
        )
        # Hosts are often named after what they are in the chains, also those that this deployment does not know.
        roles = "|".join(map(re.escape, deployment.upstreams))
        self._roles = re.compile(rf"\b(?:{roles})(?:\.[A-Za-z0-9-]+)+(?::\d+)?") if roles else None

    def clean(self, text: str, limit: int = 2_000) -> str:
        """Return ``text`` on one line, cut at ``limit`` characters, without keys, credentials and addresses."""
        text = _UNPRINTABLE.sub(" ", text)
        for pattern in (self._secrets, _KEYS, _ADDRESSES, self._hosts, self._roles):
            if pattern is not None:
                text = pattern.sub(REDACTED, text)
        return text if len(text) <= limit else text[:limit] + "..."


def _any_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    # Longest first: a host with its port before the bare host.
    known = sorted({text for text in texts if len(text) >= 4}, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, known))) if known else None
