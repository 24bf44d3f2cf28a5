"""What a run changed: the diff's page, and what it loads."""

from treadle.web.pages.diff.handlers import routes

__all__ = ["routes"]
