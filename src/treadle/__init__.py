"""Treadle runs AI coding CLIs over Git repositories."""
