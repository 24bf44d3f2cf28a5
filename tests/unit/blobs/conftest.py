"""Real services for the adapters."""

from tests.support.s3 import own_s3, s3_bucket, s3_server

__all__ = ["own_s3", "s3_bucket", "s3_server"]
