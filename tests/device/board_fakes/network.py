"""MicroPython's `network`: a radio in station mode that finds its network after a moment."""

import world as _world

STA_IF = 0
JOIN_MS = 200


class WLAN:
    def __init__(self, interface):
        assert interface == STA_IF
        self._is_active = False
        self._joined_ms = -1

    def active(self, is_active):
        self._is_active = is_active

    def connect(self, ssid, password=None):
        assert self._is_active
        assert ssid
        self._joined_ms = _world.here().now_ms() + JOIN_MS

    def disconnect(self):
        self._joined_ms = -1

    def isconnected(self):
        return 0 <= self._joined_ms <= _world.here().now_ms()
