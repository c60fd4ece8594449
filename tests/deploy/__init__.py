"""Tests of deploy/: the files as they are, and what of them can run on the bench."""
