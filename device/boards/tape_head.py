"""The lines of a tape before its readings, needed once: main forgets this module afterwards."""

TYPE_CHECKING = False  # MicroPython has no typing module; mypy knows this name
if TYPE_CHECKING:
    from typing import Callable

COLUMNS = "t_ms,dial_counts,strokes,contact_adc,event"


def read(
    read_line: "Callable[[], str | None]", refusal: "Callable[[str], Exception]"
) -> "tuple[int, int]":
    """(period_ms, UTC of t_ms = 0 in milliseconds); raises refusal(cause) if it is no tape's head."""
    start = hz = ""
    while True:
        line = read_line()
        if line == COLUMNS:
            break
        if line is None:
            raise refusal("it ends before its readings")
        if line.startswith("# start: "):
            start = line[9:]
        elif line.startswith("# hz: "):
            hz = line[6:]
        elif not line.startswith("#"):
            raise refusal("not the head of a tape")
    if not hz.isdigit() or not 1 <= int(hz) <= 1000:
        raise refusal("no '# hz: ' of 1 to 1000 before it")
    utc_ms = _utc_ms(start)
    if utc_ms < 0:
        raise refusal("no '# start: YYYY-MM-DDThh:mm:ssZ' before it")
    return 1000 // int(hz), utc_ms


def _utc_ms(text: str) -> int:
    """Milliseconds since 1970 of YYYY-MM-DDThh:mm:ssZ; -1 if it is none."""
    if len(text) != 20 or text[4] + text[7] + text[10] + text[13] + text[16] + text[19] != "--T::Z":
        return -1
    for digits in (text[:4], text[5:7], text[8:10], text[11:13], text[14:16], text[17:19]):
        if not digits.isdigit():
            return -1
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
    hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
    if year < 1970 or not 1 <= month <= 12 or not 1 <= day <= 31:
        return -1
    if hour > 23 or minute > 59 or second > 59:
        return -1
    # Days since 1970-01-01, counting years from March (H. Hinnant, "chrono-compatible algorithms").
    if month <= 2:
        year -= 1
        month += 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5
    days += day - 1 - 719468
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000
