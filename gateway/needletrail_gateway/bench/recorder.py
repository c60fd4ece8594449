"""Making tapes: from the script of a treatment, readings with the character of a real pen's.

A script is first laid out, noise-free, as one frame a reading: how deep the ring is set, whether
the motor runs, whether the pen touches skin, which event happens. Everything else follows from
those frames along two separate ways. The readings are the frames plus what the sensors add: jitter
of the dial and of the contact sensor, the contact's slow ramp, spikes, flicker. The truth is
counted from the frames by the definitions of tapes/bench/README.md and never sees a reading; nor
does it share code with needletrail_protocol.measure, so that the one can check the other.

The laying out (pauses, speed of the ring, order of events) is that of the tapes in tapes/bench.
Randomness is passed in; the start time stands in the script. Not here: scope, verdict and reasons,
which take a registry and a policy; a `Truth` says what was done, not whether it was permitted.
"""

import itertools
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from needletrail_gateway.bench.tapes import COLUMN_LINE, CONTACT_MAX_ADC, START_FORMAT
from needletrail_protocol.measure import DIAL_MAX_COUNTS
from needletrail_protocol.topics import is_identifier

HZ = 50
PERIOD_MS = 1000 // HZ

# The definitions of tapes/bench/README.md, as far as a script can touch them.
CONTACT_HOLD_MS = 60
BRIDGE_MS = 300
PASS_LEAST_MS = 500
BREACH_LEAST_MS = 200

# How the tapes in tapes/bench are laid out.
BEFORE_BADGE_MS = 1000
AFTER_TAG_MS = 500
SETTLE_MS = 400  # the ring comes to rest before anything else is done
MOTOR_LEAD_MS = 500
MOTOR_OFF_MS = 1000  # from the motor's stop to the cartridge's removal
RING_UM_PER_MS = 2

# How their sensors behave.
DIAL_NOISE_COUNTS = 3.0
CONTACT_AIR_ADC = 900
CONTACT_SKIN_ADC = 2900
CONTACT_NOISE_ADC = 60.0
CONTACT_GAIN = 0.6  # share of the way to the new level that one reading goes
FLICKER_ADC = 900
SPIKE_UM = 2500

BADGE_URI = "https://clinic.example/badge/{}"
CARTRIDGE_URI = "https://id.gs1.org/01/{gtin}/10/{lot}/21/{serial}?17={expires}"


def _whole_periods(value_ms: int) -> int:
    if value_ms % PERIOD_MS:
        raise ValueError(f"must be a multiple of {PERIOD_MS}, one reading")
    return value_ms


def _pen_id(value: str) -> str:
    if not is_identifier(value):
        raise ValueError("must be 1 to 32 of a-z, 0-9 and '-', and not begin with '-'")
    return value


def _whole_second(value: datetime) -> datetime:
    if value.tzinfo is None or value.microsecond:
        raise ValueError("must be a whole second with its offset, such as 2026-07-02T09:00:00Z")
    return value.astimezone(UTC)


Ms = Annotated[int, Field(ge=0, le=3_600_000), AfterValidator(_whole_periods)]
PauseMs = Annotated[int, Field(ge=0, le=240_000), AfterValidator(_whole_periods)]  # never idle
DepthMm = Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)]
TagText = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,20}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spike(_Entry):
    """The dial's sensor reads nonsense once or twice. It is not a depth."""

    at_ms: Ms
    readings: int = Field(default=1, ge=1, le=2)


class Flicker(_Entry):
    """The contact's sensor drops out for a moment."""

    at_ms: Ms
    readings: int = Field(default=2, ge=1, le=5)


class Excursion(_Entry):
    """The ring is turned while the pen is on the skin. Without `hold_ms` it stays turned."""

    at_ms: Ms
    depth_mm: DepthMm
    hold_ms: Annotated[int, Field(ge=80, le=3_600_000), AfterValidator(_whole_periods)] | None = None


class Pass(_Entry):
    """The pen on the skin with the motor on, then lifted for a pause. Times within it: `at_ms`."""

    kind: Literal["pass"]
    depth_mm: DepthMm
    duration_ms: Annotated[Ms, Field(ge=PERIOD_MS)]
    pause_after_ms: PauseMs = 1200
    spikes: tuple[Spike, ...] = ()
    flickers: tuple[Flicker, ...] = ()
    excursions: tuple[Excursion, ...] = ()

    @model_validator(mode="after")
    def _everything_fits(self) -> Self:
        spans = [(spike.at_ms, spike.readings * PERIOD_MS) for spike in self.spikes]
        _check_order("spikes", spans, self.duration_ms, apart_ms=100)
        spans = [(flicker.at_ms, flicker.readings * PERIOD_MS) for flicker in self.flickers]
        _check_order("flickers", spans, self.duration_ms, apart_ms=200)
        spans = []
        for excursion in self.excursions:
            turn_ms = _turn_ms(_um(self.depth_mm), _um(excursion.depth_mm))
            if excursion.hold_ms is None:
                rest_ms = max(self.duration_ms - excursion.at_ms, turn_ms + 80)
                spans.append((excursion.at_ms, rest_ms))
            else:
                spans.append((excursion.at_ms, 2 * turn_ms + excursion.hold_ms))
        _check_order("excursions", spans, self.duration_ms, apart_ms=100)
        return self


class Air(_Entry):
    """The ring is turned while the pen touches nothing."""

    kind: Literal["air"]
    depth_mm: DepthMm
    hold_ms: PauseMs = 2000


class Rest(_Entry):
    """The pen touches the skin with its motor stopped."""

    kind: Literal["rest"]
    duration_ms: Annotated[Ms, Field(ge=PERIOD_MS)]
    pause_after_ms: PauseMs = 1200


class CartridgeTag(_Entry):
    """What a cartridge's tag says."""

    gtin: Annotated[str, Field(pattern=r"^[0-9]{14}$")]
    lot: TagText
    serial: TagText
    expires: date

    def expires_yymmdd(self) -> str:
        return self.expires.strftime("%y%m%d")


class Script(_Entry):
    """A treatment as it is to happen. Without `cartridge` no tag is read."""

    tape: Annotated[str, Field(pattern=r"^[ -~]{1,100}$")]
    pen: Annotated[str, AfterValidator(_pen_id)]
    start: Annotated[datetime, AfterValidator(_whole_second)]
    badge: TagText | None = None
    badge_late_ms: PauseMs = 0  # after the cartridge; 0: before it
    cartridge: CartridgeTag | None = None
    strokes_per_min: Annotated[int, Field(ge=600, le=12_000)] = 7000
    steps: Annotated[
        tuple[Annotated[Pass | Air | Rest, Field(discriminator="kind")], ...], Field(min_length=1)
    ]
    removal: bool = True
    trailing_ms: PauseMs = 1000
    seed: int = 0

    @model_validator(mode="after")
    def _late_after_a_tag(self) -> Self:
        if self.badge_late_ms and (self.cartridge is None or self.badge is None):
            raise ValueError("badge_late_ms needs both a badge and a cartridge")
        return self


class ScriptError(Exception):
    """A file that is no script. Each problem names the file, the key and what is wrong there."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        super().__init__(path, problems)
        self.path = path
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(f"{self.path}: {problem}" for problem in self.problems)


def read_script(path: Path) -> Script:
    """The script in the TOML file `path`; ScriptError for anything else."""
    try:
        document = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ScriptError(path, [f"can not be read: {error.strerror}. Check the path"]) from None
    except UnicodeDecodeError:
        raise ScriptError(path, ["is not UTF-8. Save it as UTF-8"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ScriptError(path, [f"is not TOML: {error}"]) from None
    try:
        return Script.model_validate(document)
    except ValidationError as invalid:
        raise ScriptError(path, [_problem(error) for error in invalid.errors()]) from None


@dataclass(frozen=True)
class Stretch:
    """Work at one depth setting, from `from_ms` up to but not including `to_ms`."""

    from_ms: int
    to_ms: int
    depth_um: int


@dataclass(frozen=True)
class Truth:
    """What was done, counted from the script. `work` are the stretches in order of time."""

    script: Script
    session_samples: int | None
    session_ms: int | None
    strokes: int
    pass_intervals_ms: tuple[tuple[int, int], ...]
    peak_um: int | None
    work: tuple[Stretch, ...]

    def breach_intervals_ms(self, over_um: int) -> list[tuple[int, int]]:
        """Where the work was deeper than `over_um` for long enough on end."""
        deep = [(part.from_ms, part.to_ms) for part in self.work if part.depth_um > over_um]
        return _joined(deep, bridge_ms=0, least_ms=BREACH_LEAST_MS)

    def breach_ms(self, over_um: int) -> int:
        """Time in breach, where `over_um` is the limit plus the reading tolerance."""
        return sum(to_ms - from_ms for from_ms, to_ms in self.breach_intervals_ms(over_um))

    def document(self) -> dict[str, Any]:
        """The truth in the form of tapes/bench/*.truth.json, up to where the judging begins."""
        script = self.script
        cartridge = script.cartridge
        return {
            "tape": script.tape,
            "pen": script.pen,
            "start": script.start.strftime(START_FORMAT),
            "session_samples": self.session_samples,
            "session_ms": self.session_ms,
            "strokes": self.strokes,
            "passes": len(self.pass_intervals_ms),
            "pass_intervals_ms": [list(interval) for interval in self.pass_intervals_ms],
            "peak_mm": None if self.peak_um is None else self.peak_um / 1000,
            "practitioner": script.badge,
            "cartridge": None
            if cartridge is None
            else {
                "gtin": cartridge.gtin,
                "lot": cartridge.lot,
                "serial": cartridge.serial,
                "expires": cartridge.expires_yymmdd(),
            },
        }


def record(script: Script, calibration: Sequence[tuple[int, int]], rng: Random) -> tuple[str, Truth]:
    """The tape of a treatment, as CSV, and its truth.

    calibration: the pen's pairs (counts, micrometres) from the registry, rising.
    ValueError if the script turns the ring further than this pen's dial can read.
    """
    frames = _frames(script)
    return _readings(script, frames, calibration, rng), _truth(script, frames)


@dataclass
class _Frame:
    """What is so during one reading. `event` as in the tape's column."""

    depth_um: int
    motor: bool = False
    contact: bool = False
    is_spike: bool = False
    is_flicker: bool = False
    event: str = ""


def _frames(script: Script) -> list[_Frame]:
    frames: list[_Frame] = []
    depth_um = 0

    def hold(duration_ms: int, *, motor: bool = False, contact: bool = False) -> None:
        for _ in range(duration_ms // PERIOD_MS):
            frames.append(_Frame(depth_um, motor, contact))

    def turn(to_um: int, *, motor: bool) -> None:
        nonlocal depth_um
        if to_um != depth_um:
            frames.extend(_Frame(um, motor) for um in _turning(depth_um, to_um))
            depth_um = to_um
            hold(SETTLE_MS, motor=motor)

    def event(text: str) -> None:
        frames.append(_Frame(depth_um, event=text))

    hold(BEFORE_BADGE_MS)
    badge = "" if script.badge is None else "badge:" + _tag(BADGE_URI.format(script.badge))
    if badge and not script.badge_late_ms:
        event(badge)
        hold(AFTER_TAG_MS)
    if script.cartridge is not None:
        event("cartridge:" + _tag(_cartridge_uri(script.cartridge)))
        hold(AFTER_TAG_MS)
    if badge and script.badge_late_ms:
        hold(max(0, script.badge_late_ms - AFTER_TAG_MS))
        event(badge)
        hold(AFTER_TAG_MS)

    motor = False
    for step in script.steps:
        if isinstance(step, Rest):
            if motor:
                hold(MOTOR_OFF_MS)
            motor = False
            hold(step.duration_ms, contact=True)
            hold(step.pause_after_ms)
            continue
        turn(_um(step.depth_mm), motor=motor)
        if not motor:
            motor = True
            hold(MOTOR_LEAD_MS, motor=True)
        if isinstance(step, Air):
            hold(step.hold_ms, motor=True)
        else:
            frames.extend(_pass_frames(step))
            depth_um = frames[-1].depth_um
            hold(step.pause_after_ms, motor=True)
    if motor:
        hold(MOTOR_OFF_MS)
    if script.cartridge is not None and script.removal:
        event("removed:cartridge")
    hold(script.trailing_ms)
    return frames


def _pass_frames(step: Pass) -> list[_Frame]:
    base_um = _um(step.depth_mm)
    frames = [_Frame(base_um, motor=True, contact=True) for _ in range(step.duration_ms // PERIOD_MS)]
    for excursion in step.excursions:
        to_um = _um(excursion.depth_mm)
        depths_um = _turning(base_um, to_um)
        first = excursion.at_ms // PERIOD_MS
        if excursion.hold_ms is None:
            depths_um += [to_um] * (len(frames) - first - len(depths_um))
        else:
            depths_um += [to_um] * (excursion.hold_ms // PERIOD_MS) + _turning(to_um, base_um)
        for index, depth_um in enumerate(depths_um, start=first):
            frames[index].depth_um = depth_um
    for spike in step.spikes:
        for index in range(spike.readings):
            frames[spike.at_ms // PERIOD_MS + index].is_spike = True
    for flicker in step.flickers:
        for index in range(flicker.readings):
            frames[flicker.at_ms // PERIOD_MS + index].is_flicker = True
    return frames


def _readings(
    script: Script, frames: Sequence[_Frame], calibration: Sequence[tuple[int, int]], rng: Random
) -> str:
    lines = [
        f"# tape: {script.tape}",
        f"# pen: {script.pen}",
        f"# start: {script.start.strftime(START_FORMAT)}",
        f"# hz: {HZ}",
        COLUMN_LINE,
    ]
    contact_adc = float(CONTACT_AIR_ADC)
    for index, (frame, strokes) in enumerate(zip(frames, _strokes(script, frames), strict=True)):
        dial = round(_counts(calibration, frame.depth_um) + rng.gauss(0, DIAL_NOISE_COUNTS))
        target_adc = CONTACT_SKIN_ADC if frame.contact else CONTACT_AIR_ADC
        contact_adc += CONTACT_GAIN * (target_adc - contact_adc)
        contact = round(contact_adc + rng.gauss(0, CONTACT_NOISE_ADC))
        if frame.is_spike:
            dial = round(_counts(calibration, SPIKE_UM))
        if frame.is_flicker:
            contact = FLICKER_ADC
        dial = min(max(dial, 0), DIAL_MAX_COUNTS)
        contact = min(max(contact, 0), CONTACT_MAX_ADC)
        lines.append(f"{index * PERIOD_MS},{dial},{strokes},{contact},{frame.event}")
    return "\n".join(lines) + "\n"


def _truth(script: Script, frames: Sequence[_Frame]) -> Truth:
    first = last = None
    for index, frame in enumerate(frames):
        if frame.event.startswith("cartridge:"):
            first = index
        elif frame.event.startswith("removed:"):
            last = index
    if first is not None and last is None:  # power off ends the session with the last reading
        last = len(frames) - 1
    samples = None if first is None or last is None else last - first + 1
    touches = [
        Stretch(index * PERIOD_MS, (index + 1) * PERIOD_MS, frame.depth_um)
        for index, frame in enumerate(frames)
        if frame.motor and frame.contact and not _is_lost(frames, index)
    ]
    intervals = _joined([(touch.from_ms, touch.to_ms) for touch in touches], BRIDGE_MS, PASS_LEAST_MS)
    return Truth(
        script=script,
        session_samples=samples,
        session_ms=None if samples is None else (samples - 1) * PERIOD_MS,
        strokes=_strokes(script, frames)[-1],
        pass_intervals_ms=tuple(intervals),
        peak_um=max((touch.depth_um for touch in touches), default=None),
        work=tuple(touches),
    )


def _is_lost(frames: Sequence[_Frame], index: int) -> bool:
    """A flicker of the contact that lasts longer than its hold is a loss of contact."""
    if not frames[index].is_flicker:
        return False
    first = last = index
    while frames[first - 1].is_flicker:
        first -= 1
    while frames[last + 1].is_flicker:
        last += 1
    return (last - first + 1) * PERIOD_MS > CONTACT_HOLD_MS


def _joined(
    spans_ms: Sequence[tuple[int, int]], bridge_ms: int, least_ms: int
) -> list[tuple[int, int]]:
    """Spans with the gaps below `bridge_ms` closed, without those that stay below `least_ms`."""
    joined: list[tuple[int, int]] = []
    for from_ms, to_ms in spans_ms:
        if joined and (from_ms == joined[-1][1] or from_ms - joined[-1][1] < bridge_ms):
            joined[-1] = (joined[-1][0], to_ms)
        else:
            joined.append((from_ms, to_ms))
    return [span for span in joined if span[1] - span[0] >= least_ms]


def _strokes(script: Script, frames: Sequence[_Frame]) -> list[int]:
    """The stroke counter at each frame; whole strokes only."""
    running = 0
    strokes = []
    for frame in frames:
        running += frame.motor
        strokes.append(running * script.strokes_per_min * PERIOD_MS // 60_000)
    return strokes


def _turning(from_um: int, to_um: int) -> list[int]:
    """Settings of the ring on its way, one a reading, the last one at its end."""
    step_um = RING_UM_PER_MS * PERIOD_MS
    direction = 1 if to_um > from_um else -1
    settings = list(range(from_um + direction * step_um, to_um, direction * step_um))
    return [*settings, to_um] if to_um != from_um else []


def _turn_ms(from_um: int, to_um: int) -> int:
    return math.ceil(abs(to_um - from_um) / (RING_UM_PER_MS * PERIOD_MS)) * PERIOD_MS


def _counts(calibration: Sequence[tuple[int, int]], depth_um: int) -> float:
    """The dial's reading at a depth: the calibration backwards, its last segment going on."""
    for (low_counts, low_um), (high_counts, high_um) in itertools.pairwise(calibration):
        if depth_um <= high_um or high_um == calibration[-1][1]:
            share = (depth_um - low_um) / (high_um - low_um)
            counts = low_counts + share * (high_counts - low_counts)
            if not 0 <= counts <= DIAL_MAX_COUNTS:
                break
            return counts
    raise ValueError(f"{depth_um / 1000} mm is beyond what this pen's dial can read")


def _tag(uri: str) -> str:
    """A tag's NDEF message in hexadecimal: one short URI record, prefix 4 being https://."""
    rest = uri.removeprefix("https://").encode()
    return (bytes((0xD1, 0x01, len(rest) + 1, 0x55, 0x04)) + rest).hex()


def _cartridge_uri(tag: CartridgeTag) -> str:
    return CARTRIDGE_URI.format(
        gtin=tag.gtin, lot=tag.lot, serial=tag.serial, expires=tag.expires_yymmdd()
    )


def _um(mm: float) -> int:
    return round(mm * 1000)


def _check_order(
    name: str, spans_ms: Sequence[tuple[int, int]], duration_ms: int, apart_ms: int
) -> None:
    end_ms = -apart_ms
    for at_ms, lasts_ms in spans_ms:
        if at_ms < end_ms + apart_ms:
            raise ValueError(f"{name} must be in order and {apart_ms} ms apart")
        end_ms = at_ms + lasts_ms
        if end_ms > duration_ms:
            raise ValueError(f"{name} must end within the pass: at_ms {at_ms} does not")


def _problem(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "the script"
    return f"{key}: {error['msg']}"
