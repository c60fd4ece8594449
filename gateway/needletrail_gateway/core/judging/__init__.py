"""Judging: from what was done and what was allowed to findings, and from findings to a verdict."""
