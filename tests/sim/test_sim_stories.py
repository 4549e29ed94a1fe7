"""Every story of the link, told in virtual time, with and without delays on the way."""

import asyncio

import pytest

import tests.sim.link_stories_more  # noqa: F401 - adds its stories
from harness.sim import Link, Network, SimTransport, run
from harness.sim.asgi import Receive, Scope, Send
from tests.sim.link_stories import STORIES, Caller, Story


async def tell(story: Story, link: Link) -> list[str]:
    log: list[str] = []
    network = Network(link=link)

    async def app(scope: Scope, receive: Receive, send: Send) -> object:
        return await story.app(scope, receive, send, log.append)

    network.serve("server", app)
    await story.client(Caller(SimTransport(network, "client"), "http://server", log.append))
    await asyncio.sleep(10)
    assert not network.live
    return log


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_story(story: Story) -> None:
    assert run(tell(story, Link())) == story.log


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_story_with_latency(story: Story) -> None:
    assert run(tell(story, Link(connect_s=0.002, latency_s=0.004))) == story.log
