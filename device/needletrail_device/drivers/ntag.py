"""Cartridge and badge: NTAG213, 215 and 216 tags seen through one PN532, as events.

Sources: NXP data sheet NTAG213/215/216 rev. 3.2 (below: NTAG), NFC Forum Type 2 Tag 1.1 (T2T), NXP
UM0701-02 (UM). About every 120 ms the chip lists up to two tags (UM 7.3.5). One that is new is
read; one that is missing three times in a row is gone. Then the field goes off, which saves power and
brings every tag back to its first state: a tag left active does not answer the next listing.

A tag whose NDEF message has a badge's id is a badge; it is told once, and again when it was gone
between. Any other is the cartridge, also one that can not be read: b"". There is one cartridge: while
it is there, others that are no badge are left alone; one that is still there when it is gone is read
then. Phones and bank cards (ISO 14443-4, NFC-DEP) are no tags of ours.

What state a listing of two leaves the tags in, the manual does not say. So a tag is read alone: field
off, and called by its identifier. A cartridge that is not among those listed is called like that, too,
so a badge in front of it does not remove it. Where the chip lists the cartridge alone, a badge beside
it is not seen until it is held otherwise.

A message is read in pieces of 16 bytes (NTAG 10.2), and its tag's identifier, from the first pages,
before and after them, so two tags are never mixed; a tag gone meanwhile is no event.

While `fault` is set nothing is known, so nothing is told: a cartridge is not gone because the chip is.
"""

from needletrail_device.drivers.pn532 import DONE, FAILED
from needletrail_device.drivers.tlv import MALFORMED, MORE
from needletrail_device.loading import forget
from needletrail_protocol.ndef import MESSAGE_MAX_LENGTH, badge_id

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

POLL_MS = 120
MISSES_MAX = 3
READ_TRIES = 8  # a tag that is there and still can not be read in so many polls is unreadable
BACK_OFF_MS = 500
BACK_OFF_MAX_MS = 8000

# UM 7.2.10: normal mode, no interrupt line; 7.3.1: at most two retries of a listing; 7.2.9: no RATS, so
# that the longest answer to a listing is known.
_SET_UP = (b"\x14\x01\x00\x00", b"\x32\x05\xff\x01\x02", b"\x12\x04")
_LIST_TWO = b"\x4a\x02\x00"  # UM 7.3.5: at most two, 106 kbit/s type A
_CALL_ONE = b"\x4a\x01\x00\x88"  # the one with this identifier, which follows the cascade tag
_FIELD_OFF = b"\x32\x01\x00"  # UM 7.3.1

# Phases. Below _LIST: the command of _SET_UP under way.
_LIST, _CALL, _HEAD, _BODY, _TAIL, _RESET, _OFF, _PAUSE = 3, 4, 5, 6, 7, 8, 9, 10

# What is known of a tag.
_UID, _KIND, _MISSES, _TRIES = 0, 1, 2, 3
_UNREAD, _CARTRIDGE, _BADGE, _SPARE = 0, 1, 2, 3
_UID_BYTES = 7  # NTAG 8.5.1
_NOT_OURS = 0x60  # of SEL_RES: ISO 14443-4 or NFC-DEP


class Tags:
    """The tags at one PN532. `fault` is None or one of pn532's words."""

    def __init__(self, chip: "Any") -> None:
        self.fault: "str | None" = None
        self._chip = chip
        self._phase = _PAUSE
        self._resume = 0  # the phase after the pause: set up the chip
        self._poll_ms = 0  # when this poll began
        self._resume_ms = -1  # when the pause ends
        self._back_off_ms = BACK_OFF_MS
        self._events: "list[tuple[str, bytes]]" = []
        self._tags: "list[list[Any]]" = []  # every tag seen lately
        self._cartridge: "list[Any] | None" = None
        self._is_company = False  # the last listing named a tag
        self._tag: "Any" = None  # the one that is read, or called
        self._message: "Any" = None
        self._content = b""
        self._read = bytearray(b"\x40\x01\x30\x00")  # UM 7.3.8: target 1, READ, page

    def take_event(self) -> "tuple[str, bytes] | None":
        """("cartridge" or "badge", NDEF message), ("removed", b"") or None. No poll begins before
        the events of the last are taken."""
        return self._events.pop(0) if self._events else None

    def step(self, now_ms: int) -> None:
        """Do one thing; call it about every 10 ms. Raises nothing, waits for nothing."""
        if self._phase == _PAUSE:
            if now_ms >= self._resume_ms and not self._events:
                self._poll_ms = now_ms
                self._begin(now_ms, self._resume)
            return
        outcome = self._chip.step(now_ms)
        if outcome == DONE:
            self._follow(now_ms)
        elif outcome == FAILED:
            self.fault = self._chip.why
            self._pause(0, now_ms + self._back_off_ms)
            self._back_off_ms = min(2 * self._back_off_ms, BACK_OFF_MAX_MS)

    def _pause(self, resume: int, until_ms: int) -> None:
        self._phase = _PAUSE
        self._resume = resume
        self._resume_ms = until_ms

    def _begin(self, now_ms: int, phase: int) -> None:
        """Give the chip the command of a phase."""
        self._phase = phase
        if phase < _LIST:
            command = _SET_UP[phase]
        elif phase == _LIST:
            command = _LIST_TWO
        elif phase == _CALL:
            command = _CALL_ONE + self._tag[_UID]
        elif phase <= _TAIL:
            command = self._read
        else:
            command = _FIELD_OFF
        self._chip.begin(now_ms, command)

    def _follow(self, now_ms: int) -> None:
        """The answer to this phase's command is there."""
        phase = self._phase
        if phase < _LIST:
            phase += 1
        elif phase == _LIST:
            phase = self._listed()
        elif phase == _RESET:
            phase = _CALL
        elif phase == _CALL:
            count = self._mark()
            if self._tag[_KIND] != _UNREAD:
                phase = self._finish()
            else:
                self._read[3] = 0
                phase = _HEAD if count else self._spoilt()
        elif phase == _OFF:
            self.fault = None
            self._back_off_ms = BACK_OFF_MS
            self._pause(_LIST, self._poll_ms + POLL_MS)
            return
        else:
            phase = self._pages(phase)
        self._begin(now_ms, phase)

    # ---- who is there ----

    def _listed(self) -> int:
        self._tag = None
        for tag in self._tags:
            tag[_MISSES] += 1
        count = self._mark()
        self._is_company = count > 0
        return self._rest() if self._tag is None else self._alone()

    def _alone(self) -> int:
        """Call the tag, if an NTAG can have such an identifier."""
        if len(self._tag[_UID]) == _UID_BYTES:
            return _RESET
        return self._spoilt() if self._tag[_KIND] == _UNREAD else self._finish()

    def _mark(self) -> int:
        """Mark the tags of a listing (UM 7.3.5) as there; choose the one to be read. How many."""
        data = self._chip.data
        at = self._chip.at + 1
        end = at - 1 + self._chip.count
        count = 0
        while at + 5 <= end and count < data[self._chip.at]:
            kind, length = data[at + 3], data[at + 4]
            at += 5
            if at + length > end:
                break
            count += 1
            if not kind & _NOT_OURS:
                tag = self._find(at, length)
                tag[_MISSES] = 0
                best = self._tag
                if tag[_KIND] == _UNREAD and (best is None or tag[_TRIES] < best[_TRIES]):
                    self._tag = tag
            at += length
        return count

    def _find(self, at: int, length: int) -> "list[Any]":
        """What is known of the tag with this identifier."""
        data = self._chip.data
        for tag in self._tags:
            uid = tag[_UID]
            if len(uid) == length:
                for index in range(length):
                    if uid[index] != data[at + index]:
                        break
                else:
                    return tag
        tag = [bytes(data[at : at + length]), _UNREAD, 0, 0]
        self._tags.append(tag)
        return tag

    def _rest(self) -> int:
        """What is left of this poll when nothing more is to be read."""
        cartridge = self._cartridge
        if self._is_company and cartridge is not None and cartridge[_MISSES]:
            self._tag = cartridge
            return self._alone()
        return self._finish()

    def _finish(self) -> int:
        """Forget who is gone; the field goes off."""
        tags = self._tags
        for index in range(len(tags) - 1, -1, -1):
            if tags[index][_MISSES] >= MISSES_MAX:
                if tags.pop(index) is self._cartridge:
                    self._cartridge = None
                    self._events.append(("removed", b""))
        if self._cartridge is None:
            for tag in tags:
                if tag[_KIND] == _SPARE:
                    tag[_KIND] = _UNREAD
        return _OFF

    # ---- what it says ----

    def _pages(self, phase: int) -> int:
        """Four pages were read."""
        data = self._chip.data
        at = self._chip.at + 1
        if self._chip.count != 17 or data[at - 1]:
            return self._spoilt()
        read = self._read
        if phase == _BODY:
            state = self._message.feed(data, at)
            if state == MORE:
                read[3] += 4
                return _BODY
            if state == MALFORMED:
                self._message = None
            read[3] = 0
            return _TAIL
        uid = self._tag[_UID]
        if data[at : at + 3] != uid[:3] or data[at + 4 : at + 8] != uid[3:]:  # NTAG 8.5.1
            return self._spoilt()
        if phase == _TAIL:
            return self._settle(bytes(self._message.value) if self._message else b"")
        # The capability container (NTAG 8.5.6): NDEF, version 1, size in units of 8 bytes, readable.
        if data[at + 12] != 0xE1 or data[at + 13] >> 4 != 1 or data[at + 15] >> 4:
            return self._settle(b"")
        from needletrail_device.drivers.tlv import Message  # noqa: PLC0415  it lives as long as a reading

        self._message = Message(min(data[at + 14] * 8, MESSAGE_MAX_LENGTH))
        if "/slots/" in __file__:  # in the sources it stays: compiling it each time takes long
            forget("needletrail_device.drivers.tlv")
        read[3] = 4
        return _BODY

    def _spoilt(self) -> int:
        """The tag does not let itself be read, perhaps because it is gone."""
        self._tag[_TRIES] += 1
        return self._settle(b"") if self._tag[_TRIES] >= READ_TRIES else self._rest()

    def _settle(self, content: bytes) -> int:
        """This is what the tag says."""
        tag = self._tag
        self._message = None
        if badge_id(content) is not None:
            tag[_KIND] = _BADGE
            self._events.append(("badge", content))
        elif self._cartridge is None:
            tag[_KIND] = _CARTRIDGE
            self._cartridge = tag
            self._events.append(("cartridge", content))
        else:
            tag[_KIND] = _SPARE
        return self._rest()
