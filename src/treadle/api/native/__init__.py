"""Treadle's own API: what neither dialect has. The caller acts in the organization of its key or token."""
