"""What Postgres and Valkey have in common: a data folder that outlives them, and one for their socket that does not."""

from __future__ import annotations

import shutil
import signal
from abc import abstractmethod
from pathlib import Path

from pipeline.local import folders, process
from pipeline.local.accounts import Account
from pipeline.local.process import Launch
from pipeline.local.program import START_TIMEOUT, Program

#: Seconds that an orphan of an earlier stack has to end in order.
ORPHAN_GRACE = 10.0


class Server(Program):
    """A server of our own on Unix sockets. `data` is made where it is missing; `sockets` must have a short path."""

    #: The name that its process has.
    process_name: str
    #: How it is stopped in order.
    orderly: signal.Signals = signal.SIGTERM

    def __init__(
        self, data: Path, sockets: Path, *, name: str, log: Path | None, account: Account | None = None
    ) -> None:
        self.data = data.absolute()
        self.sockets = sockets.absolute()
        self.account = account
        # the real launch is put together anew on each start
        super().__init__(name, Launch([], log or self.data.with_name(f"{self.data.name}.log")))

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def prepare(self) -> Launch:
        """Make ready what the process needs, and say how it is started."""

    def launch(self) -> None:
        folders.private(self.data, self.account)
        folders.private(self.sockets, self.account)
        self._end_orphans()
        self._launch = self.prepare()
        super().launch()

    def restart(self, *, keep_data: bool = True, timeout: float = START_TIMEOUT) -> None:
        """Kill it where it still runs, and start it again, on the same data or on none."""
        self.kill()
        if not keep_data:
            shutil.rmtree(self.data, ignore_errors=True)
        self.start(timeout)

    def _end_orphans(self) -> None:
        """End servers that a killed stack has left on these data: two at once would spoil them."""
        if orphans := process.at_work_in(self.data, self.process_name):
            process.end(orphans, self.orderly, signal.SIGQUIT, grace=ORPHAN_GRACE)
