"""The caller's side of every wire surface: build a call's request, perform it, read its answer; it judges nothing."""

from harness.clients.driver import drive
from harness.clients.request import Request, Requests, build, path_of
from harness.clients.retries import CLIENTS, next_try_s, with_tries
from harness.clients.surfaces import SURFACES, reader_for

__all__ = [
    "CLIENTS",
    "SURFACES",
    "Request",
    "Requests",
    "build",
    "drive",
    "next_try_s",
    "path_of",
    "reader_for",
    "with_tries",
]
