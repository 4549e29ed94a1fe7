"""The rule of the CLI-only models: served to the official command line client alone; everyone else loses the key.

The marks are the client's own word: this is a policy filter, no authentication.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from harness.contract import Contract
from harness.gateway.asgi import Client
from harness.gateway.call import Call
from harness.gateway.errors import Refusal

if TYPE_CHECKING:
    from harness.gateway.components import Components


class CliGate:
    """Knows the marks of the official client by the contract, headless and interactive alike."""

    def __init__(self, contract: Contract) -> None:
        self._marks = contract.cli_only
        self._user_agent = re.compile(contract.cli_only.user_agent)

    def require(self, parts: Components, call: Call) -> None:
        """Let ``call`` pass if its model is open to it. Otherwise suspends its key for good and raises Refusal."""
        assert call.model is not None
        assert call.identity is not None
        if not call.model.cli_only or (
            call.surface.dialect == "anthropic" and self.is_official(call.client, call.body)
        ):
            return
        parts.keys.suspend(call.identity.key)
        raise Refusal(
            "cli_only",
            f"{call.model.id} is served to the official command line client alone, on its own endpoint; "
            "the API key is suspended",
        )

    def is_official(self, client: Client, body: dict[str, Any]) -> bool:
        """Say whether the request carries all the marks of the official client."""
        marks = self._marks
        betas = [beta.strip() for beta in client.header(marks.beta_header).split(",")]
        session = client.header(marks.session_header)
        return (
            self._user_agent.search(client.header("user-agent")) is not None
            and client.header(marks.app_header) == marks.app_value
            and any(beta.startswith(marks.beta_prefix) for beta in betas)
            and session != ""
            and _session_in(body) in (None, session)
        )


def _session_in(body: dict[str, Any]) -> str | None:
    """Return the session that the body's metadata names, which the client sends in a header as well; None if none."""
    metadata = body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user, str):
        return None
    try:
        named = orjson.loads(user)
    except orjson.JSONDecodeError:
        return None
    session = named.get("session_id") if isinstance(named, dict) else None
    return session if isinstance(session, str) else None
