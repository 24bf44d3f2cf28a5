"""The runner's limits, as the settings give them."""

from dataclasses import dataclass

from treadle.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """All times in seconds."""

    slots: int
    lease: float
    phase: float
    idle: float
    retries: tuple[float, ...]
    grace: float
    poll: float
    drain: float
    max_lost_workers: int
    organization_slots: int | None
    min_free_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Picks them out of the settings."""
        return cls(
            slots=settings.slots,
            lease=settings.lease_seconds,
            phase=settings.phase_seconds,
            idle=settings.idle_seconds,
            retries=settings.retry_seconds,
            grace=settings.kill_grace_seconds,
            poll=settings.poll_seconds,
            drain=settings.drain_seconds,
            max_lost_workers=settings.max_lost_workers,
            organization_slots=settings.organization_slots,
            min_free_bytes=settings.min_free_bytes,
        )
