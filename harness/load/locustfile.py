"""The load generator as Locust runs it: one user that sends a schedule; imported by ``locust`` alone.

``import locust`` patches sockets, time and threads of the whole process: nothing else of the harness may import this.
Locust counts, draws and writes for whoever watches; no verdict rests on its numbers, but on the rows written here.
"""

from __future__ import annotations

import traceback

from locust import User, constant, task
from locust.exception import StopUser

from harness.load.generator import Generator
from harness.load.line import Line

LINE = Line.inherited()
GENERATOR = Generator(LINE)


class Caller(User):
    """The one user of each process: it sends its share of the calls at their instants, whatever becomes of them."""

    wait_time = constant(0)

    @task
    def send_all(self) -> None:
        """Send everything once, then end the process, however that went."""
        if GENERATOR.started:
            raise StopUser
        try:
            GENERATOR.run(self.environment.events.request.fire)
        except Exception:
            traceback.print_exc()  # now: Locust would tell it after the quit, which ends this greenlet
        finally:
            LINE.close()  # the harness need not wait for the process's end to know
            self.environment.runner.quit()
