"""The pen's firmware: sensors to session to journal to uplink.

Every module here runs unchanged on MicroPython and on CPython. Streams, clocks, randomness and the
folder in flash are passed in; only `device/firmware.py` imports the network or the machine. There are
no import-time side effects, and a module is imported when it is needed, because the heap is small.
"""

FIRMWARE = "0.1.0"
