"""What a built firmware says when it crashes, in the words of its sources."""

from needletrail_gateway.workshop.shrink import shrink
from needletrail_gateway.workshop.traces import translate

SOURCE = """
class Left:
    def __init__(self, names):
        self.wanted = names
        self.others = []

    def step_one(self):
        return [self.step_one() for one in self.wanted]


class Right:
    def __init__(self):
        self.others = {}

    def step_two(self):
        return repr(self.others), self.step_two()


class TornError(Exception):
    pass


def main():
    for one in (Left([1]), Right()):
        print(one)
    Right().step_two()
    Left([]).step_one()
    raise TornError
"""


def told(text: str) -> list[str]:
    small = shrink({"firmware.py": SOURCE})
    return translate(text, {"firmware": small[0].words}).splitlines()


def word(name: str) -> str:
    """What a function or class is called now."""
    (small,) = shrink({"firmware.py": SOURCE})
    (found,) = {now for now, places in small.words.places.items() for one in places if one.name == name}
    return found


def asks(name: str) -> tuple[str, ...]:
    (small,) = shrink({"firmware.py": SOURCE})
    (found,) = {
        one.asks for places in small.words.places.values() for one in places if one.name == name
    }
    return found


def frame(name: str) -> str:
    return f'  File "firmware", line 1, in {name}'


def test_functions_that_share_a_word_are_all_given() -> None:
    assert word("Left.step_one") == word("Right.step_two")
    assert told(frame(word("Left.step_one"))) == [
        '  File "firmware.py", lines 7 to 8, in Left.step_one',
        '  or File "firmware.py", lines 15 to 16, in Right.step_two',
    ]


def test_the_one_that_the_next_frame_speaks_for_comes_first() -> None:
    """Only the second's function names what is called behind it."""
    called = "repr"
    assert called in set(asks("Right.step_two")) - set(asks("Left.step_one"))
    small = shrink({"firmware.py": SOURCE})[0].words
    assert told(frame(word("Left.step_one")))[0].endswith("Left.step_one"), "by its line"
    lines = told(f'{frame(word("Right.step_two"))}\n  File "elsewhere", line 1, in {called}')
    assert lines[0].endswith("Right.step_two")
    assert lines[1].endswith("Left.step_one") and "  or " in lines[1]
    assert small.places["<listcomp>"][0].name == "Left.step_one.<listcomp>"


def test_all_else_stays_as_it_is() -> None:
    text = [
        "boot 1",
        '  File "asyncio/core.py", line 1, in run',
        '  File "firmware", line 1, in nobody',
    ]
    assert told("\n".join(text)) == text


def test_classes_attributes_and_errors_are_told_behind_the_last_frame() -> None:
    small = shrink({"firmware.py": SOURCE})[0].words
    wanted = next(now for now, names in small.attributes.items() if "wanted" in names)
    lines = told(
        f"{frame('main')}\nAttributeError: '{word('Left')}' object has no attribute '{wanted}'"
    )
    assert lines[-2] == f"  {word('Left')}: Left"
    assert "wanted" in lines[-1].split(": ")[1].split(" or ")
    assert told(f"{frame('main')}\n{word('TornError')}: ")[-1] == f"  {word('TornError')}: TornError"
