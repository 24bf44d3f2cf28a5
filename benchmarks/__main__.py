"""`make bench`, or `make bench ARGS="main_job diff"` for some."""

import importlib
import os
import platform
import sys

NAMES = (
    "cli",
    "api",
    "list_page",
    "page",
    "page_diff",
    "diff",
    "main_job",
    "many_runs",
    "batches",
    "claims",
    "messages",
    "webhooks",
    "wide",
    "model_gateway",
    "sandbox",
)


def main() -> None:
    wanted = sys.argv[1:] or NAMES
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores", flush=True)
    for name in wanted:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n{(module.__doc__ or name).splitlines()[0]}", flush=True)
        for row in module.rows():
            print(row, flush=True)


if __name__ == "__main__":
    main()
