"""Workspaces on this machine's disk, made with Git."""

from treadle.workspace.workspaces import GitWorkspaces

__all__ = ["GitWorkspaces"]
