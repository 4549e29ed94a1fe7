"""The providers' dialects, by the path below ``/{run}/{role}`` at which each is served."""

from __future__ import annotations

from collections.abc import Mapping

from mock_upstreams.providers.anthropic import COUNT_TOKENS
from mock_upstreams.providers.anthropic_messages import MESSAGES
from mock_upstreams.providers.base import Dialect
from mock_upstreams.providers.openai_chat import CHAT
from mock_upstreams.providers.openai_images import IMAGES
from mock_upstreams.providers.openai_responses import RESPONSES

SERVED: Mapping[str, Dialect] = {
    "openai/v1/chat/completions": CHAT,
    "openai/v1/responses": RESPONSES,
    "openai/v1/images/generations": IMAGES,
    "anthropic/v1/messages": MESSAGES,
    "anthropic/v1/messages/count_tokens": COUNT_TOKENS,
}
DIALECTS: Mapping[str, Dialect] = {dialect.surface: dialect for dialect in SERVED.values()}
"""The same by surface: chat, responses, images, messages, count_tokens."""

__all__ = ["DIALECTS", "SERVED", "Dialect"]
