"""The deployment is read strictly: every problem is named at once, and no secret is quoted."""

from __future__ import annotations

from typing import Any

import pytest
from gw_support import digest

from harness.gateway.deployment import AccountSeed, Deployment, KeySeed, UpstreamSeed


def lawful() -> dict[str, Any]:
    return {
        "accounts": [
            {"id": "a", "credits": 500, "keys": [{"id": "a-key", "sha256": digest("ck_a"), "state": "active"}]},
            {"id": "b", "credits": -3, "keys": []},
        ],
        "upstreams": {
            "primary": {
                "openai": "http://127.0.0.1:80/run/primary/openai",
                "anthropic": "https://primary.upstream/run/primary/anthropic",
                "credential": "up-1",
            }
        },
        "books_token_sha256": digest("books"),
        "zero_s": 12,
        "epoch_s": 1_767_225_600,
    }


def test_a_lawful_deployment_is_read_whole() -> None:
    made = Deployment.from_json(lawful())
    assert made.accounts == (
        AccountSeed("a", 500, (KeySeed("a-key", digest("ck_a"), "active"),)),
        AccountSeed("b", -3, ()),
    )
    assert made.upstreams["primary"] == UpstreamSeed(
        "http://127.0.0.1:80/run/primary/openai", "https://primary.upstream/run/primary/anthropic", "up-1"
    )
    assert (made.zero_s, made.epoch_s, made.books_token_sha256) == (12, 1_767_225_600, digest("books"))


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("accounts", {}, "accounts: expected a list, found a dict"),
        ("accounts.0", 5, "accounts[0]: expected an object, found 5"),
        ("accounts.0.id", "", "accounts[0].id: expected a non-empty string, found a str"),
        ("accounts.1.id", "a", "account id 'a' is used twice"),
        (
            "accounts.1.keys",
            [{"id": "b-key", "sha256": digest("ck_a"), "state": "active"}],
            f"key digest '{digest('ck_a')}' is used twice",
        ),
        (
            "accounts.1.keys",
            [{"id": "a-key", "sha256": digest("ck_b"), "state": "active"}],
            "key id 'a-key' is used twice",
        ),
        ("accounts.0.credits", 1.5, "accounts[0].credits: expected a whole number, found 1.5"),
        ("accounts.0.credits", True, "accounts[0].credits: expected a whole number, found True"),
        ("accounts.0.keys.0.sha256", "ck_secret", "accounts[0].keys[0].sha256: expected a sha256"),
        ("accounts.0.keys.0.sha256", digest("x").upper(), "accounts[0].keys[0].sha256: expected a sha256"),
        ("accounts.0.keys.0.state", "asleep", "accounts[0].keys[0].state: expected one of active, disabled"),
        ("accounts.0.keys.0.secret", "x", "accounts[0].keys[0].secret: unknown; known are id, sha256, state"),
        ("upstreams", [], "upstreams: expected an object, found a list"),
        ("upstreams.primary.openai", "ftp://x/y", "upstreams.primary.openai: expected an http or https URL"),
        ("upstreams.primary.openai", "http://x/y/", "upstreams.primary.openai: expected an http or https URL"),
        ("upstreams.primary.openai", "http://[x", "upstreams.primary.openai: expected an http or https URL"),
        ("upstreams.primary.anthropic", None, "upstreams.primary.anthropic: expected an http or https URL"),
        ("zero_s", float("inf"), "zero_s: expected a number of seconds, found inf"),
        ("zero_s", "1", "zero_s: expected a number of seconds, found a str"),
        ("epoch_s", 1.0, "epoch_s: expected a whole number, found 1.0"),
        ("books_token_sha256", None, "books_token_sha256: expected a sha256"),
        ("surprise", 1, "surprise: unknown; known are accounts, upstreams"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(path: str, value: object, problem: str) -> None:
    data: Any = lawful()
    *above, name = path.split(".")
    at = data
    for step in above:
        at = at[int(step) if step.isdigit() else step]
    at[int(name) if name.isdigit() else name] = value
    with pytest.raises(ValueError, match="deployment has problems") as raised:
        Deployment.from_json(data)
    assert problem in str(raised.value)
    assert "ck_secret" not in str(raised.value)


def test_all_problems_are_told_at_once() -> None:
    data = lawful()
    del data["epoch_s"]
    data["zero_s"] = None
    data["accounts"][0]["keys"][0]["state"] = 3
    with pytest.raises(ValueError, match="problems") as raised:
        Deployment.from_json(data)
    lines = str(raised.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == ["epoch_s", "accounts[0].keys[0].state", "zero_s"]


def test_a_deployment_that_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="the whole: expected an object, found a list"):
        Deployment.from_json([])  # type: ignore[arg-type] # that is the point
