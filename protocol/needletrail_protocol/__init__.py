"""The wire between pen and gateway: topics, messages, authentication, and what a reading means.

Every module here runs unchanged on MicroPython and on CPython, does no I/O, reads no clock and
keeps no global state. `protocol/README.md` and `protocol/needletrail.cddl` are normative; where
this code and they differ, this code is wrong.
"""

PROTOCOL_VERSION = 1
