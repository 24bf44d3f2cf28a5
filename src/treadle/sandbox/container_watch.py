"""A container's command on its way through its limits."""

from dataclasses import dataclass, field, replace

from treadle.sandbox import limits
from treadle.sandbox.container_pipes import Pipes
from treadle.sandbox.watch import Watched


@dataclass(slots=True)
class WatchedContainer(Watched):
    """The Enclosed port. What the container's control group holds, its first process tells of; else the processes are
    counted that come from `mark`, which are all of a podman container's, and none of a docker container's."""

    pipes: Pipes = field(kw_only=True, repr=False)
    is_counted: bool = field(kw_only=True)

    async def breached(self) -> str:
        """Their number is left to the kernel: the runtime's own threads are among those that could be counted."""
        held = replace(self.limits, processes=0)
        watched = replace(held, memory_bytes=0, cpu_seconds=0) if self.is_counted else held
        watching = Watched(self.argv, self.environment, watched, self.disk, None, self.mark)
        self._said = await watching.breached()
        return self._said

    def hit(self) -> str | None:
        if self._said is None:
            hit = self.pipes.report()
            self._said = next((say(self.limits) for name, say in _SAID.items() if name in hit), None)
        return self._said


#: By the word in the report, the worst first.
_SAID = {"memory": limits.said_of_memory, "cpu": limits.said_of_cpu, "processes": limits.said_of_processes}
