"""Looks for customers' secrets in what was seen of a run, and notes each place: the history itself never holds one."""

from __future__ import annotations

from collections.abc import Mapping

from harness.environment.secrets import PREFIX
from harness.history import Recording

_SECRET = PREFIX.encode()
"""What every customer's key begins with: a text without it need not be searched."""


class Scanner:
    """Knows every customer's secret (``secrets``, by key id), and notes in a recording where one turns up."""

    def __init__(self, secrets: Mapping[str, str], recording: Recording) -> None:
        self._recording = recording
        self._secrets = {secret.encode(): key for key, secret in secrets.items()}

    def scan(self, at_us: int, where: str, call: str, *texts: bytes) -> None:
        """Note every place where a customer's secret turns up."""
        for text in texts:
            if not may_hold_one(text):
                continue
            for secret, key in self._secrets.items():
                if secret in text:
                    self._recording.note("secret_seen", at_us, where=where, key=key, call=call)

    def without_secrets(self, body: bytes) -> bytes:
        """Return ``body`` with every customer's secret blotted out."""
        if may_hold_one(body):
            for secret in self._secrets:
                body = body.replace(secret, b"[credential]")
        return body


def may_hold_one(text: bytes) -> bool:
    """Say whether a customer's secret may stand in ``text`` as it is."""
    return _SECRET in text
