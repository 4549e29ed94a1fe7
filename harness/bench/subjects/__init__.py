"""Who can be measured: each subject is started here on loopback, checked to be the one that listens, and stopped."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from harness.bench.subjects.aimock import aimock
from harness.bench.subjects.base import Missing, Site, Subject
from harness.bench.subjects.litellm import litellm
from harness.bench.subjects.mock import mock
from harness.bench.subjects.nginx import nginx
from harness.bench.subjects.portkey import portkey
from harness.bench.subjects.reference import reference, stub
from harness.bench.subjects.url import url

SUBJECTS = {
    "reference": reference,
    "stub": stub,
    "nginx": nginx,
    "litellm": litellm,
    "portkey": portkey,
    "aimock": aimock,
}

__all__ = ["SUBJECTS", "Missing", "Site", "Subject", "mock", "started"]


def started(name: str, site: Site) -> AbstractAsyncContextManager[Subject]:
    """Start the subject ``name``, or find the one at that address; KeyError for a name that there is not.

    Raises, on the way in, Missing for a program that is not installed, TargetError for one that does not come up.
    """
    return url(name, site) if "://" in name else SUBJECTS[name](site)
