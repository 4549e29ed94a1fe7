"""LiteLLM's proxy before the mock, one worker, without a database: a peer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from harness.bench.subjects.base import LOOPBACK, Site, Subject, free_port, program, running
from harness.bench.subjects.mock import CHAT

_KEY = "sk-bench"


@asynccontextmanager
async def litellm(site: Site) -> AsyncIterator[Subject]:
    """Start it with one model, a master key and no call to anywhere but the mock."""
    path = program("litellm", "HARNESS_LITELLM", help="pip install 'litellm[proxy]' in an environment of its own")
    port = free_port()
    config = site.folder / "litellm.json"
    upstream = {"model": "openai/gpt-5.5", "api_base": f"{site.upstream}/v1", "api_key": "up-bench"}
    config.write_bytes(
        orjson.dumps(  # JSON is YAML
            {
                "model_list": [{"model_name": "bench", "litellm_params": upstream}],
                "general_settings": {"master_key": _KEY},
                "litellm_settings": {"telemetry": False},
            }
        )
    )
    arguments = [path, "--config", str(config), "--host", LOOPBACK, "--port", str(port), "--num_workers", "1"]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "PYTHONPATH": ""}
    async with running("litellm", arguments, port, site.folder, env) as pid:
        yield Subject(
            name="litellm",
            host=LOOPBACK,
            port=port,
            path=CHAT,
            headers={"authorization": f"Bearer {_KEY}"},
            model="bench",
            roots=(pid,),
            about="LiteLLM's proxy, one worker, no database",
        )
