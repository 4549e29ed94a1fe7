"""Tests of load: schedules, shapes, traces, the generator's client, collection, its checkers, and a load end to end."""
