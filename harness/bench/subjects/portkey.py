"""Portkey's open gateway before the mock: a peer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from harness.bench.subjects.base import LOOPBACK, Missing, Site, Subject, free_port, program, running
from harness.bench.subjects.mock import CHAT

_ON_LOOPBACK = """\
// It binds every address and has no option for that.
const net = require("net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (first, ...rest) {
  if (first !== null && typeof first === "object") first = { ...first, host: "%(host)s" };
  else if (!isNaN(first)) {
    rest = ["%(host)s", ...rest.filter((one) => typeof one === "function")];
    first = Number(first);
  }
  return listen.call(this, first, ...rest);
};
"""
_HELP = (
    "npm install @portkey-ai/gateway (with the overrides hono 4.9.7 and @hono/node-server 1.13.5), and set "
    "HARNESS_PORTKEY to its build/start-server.js"
)


@asynccontextmanager
async def portkey(site: Site) -> AsyncIterator[Subject]:
    """Start it on loopback; where to send a call is told to it with the call."""
    server = program("portkey-start-server.js", "HARNESS_PORTKEY", help=_HELP, run=False)
    try:
        node = program("node", "HARNESS_NODE", help="install Node.js")
    except Missing as error:
        raise Missing("portkey cannot be started", cause=str(error), help=error.help) from None
    port = free_port()
    preload = site.folder / "loopback.cjs"
    preload.write_text(_ON_LOOPBACK % {"host": LOOPBACK})
    config = {"provider": "openai", "api_key": "up-bench", "custom_host": f"{site.upstream}/v1"}
    arguments = [node, "-r", str(preload), server, f"--port={port}", "--headless"]
    async with running("portkey", arguments, port, site.folder, {"NODE_ENV": "production"}) as pid:
        yield Subject(
            name="portkey",
            host=LOOPBACK,
            port=port,
            path=CHAT,
            headers={"x-portkey-config": orjson.dumps(config).decode()},
            model="gpt-5.5",
            roots=(pid,),
            about="Portkey's gateway, one process",
        )
