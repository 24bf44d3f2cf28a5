"""Bytes for a person, in the interpreter and in its host."""


def size_text(count: int) -> str:
    """Such as `256 KiB`; exact."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit and count % unit == 0:
            return f"{count // unit:,} {name}"
    return f"{count:,} bytes"
