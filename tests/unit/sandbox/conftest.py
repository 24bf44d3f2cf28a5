"""The runtimes of containers."""

from tests.support.containers import docker, podman

__all__ = ["docker", "podman"]
