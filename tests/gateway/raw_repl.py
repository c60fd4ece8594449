"""A raw REPL in MicroPython itself, for its Unix port, which has none.

Run on a terminal by mpremote's tests. It speaks what boards speak (Ctrl-A, Ctrl-B, Ctrl-C, Ctrl-D, and
"no raw paste"), runs what it is given in the real interpreter, and has the folder in which it stands
as its flash.
"""

import gc
import sys

CTRL_A, CTRL_B, CTRL_C, CTRL_D, CTRL_E = "\x01", "\x02", "\x03", "\x04", "\x05"
RAW = "raw REPL; CTRL-B to exit\r\n>"


def write(text):
    sys.stdout.write(text)


def fresh():
    """Names as after a reset."""
    gc.collect()
    return {"__name__": "__main__"}


def run(code, names):
    """What the program printed, Ctrl-D, what it raised, Ctrl-D."""
    write("OK")
    error = None
    try:
        exec(code, names)
    except BaseException as caught:
        error = caught
    write(CTRL_D)
    if error is not None:
        sys.print_exception(error, sys.stdout)
    write(CTRL_D + ">")


def main():
    names = fresh()
    code = ""
    is_raw = False
    while True:
        character = sys.stdin.read(1)
        if not character:
            return
        if character == CTRL_A:
            is_raw = True
            code = ""
            write(RAW)
        elif character == CTRL_B:
            is_raw = False
            write("\r\nMicroPython\r\n>>> ")
        elif character == CTRL_C:
            code = ""
        elif is_raw and character == CTRL_D and not code:
            names = fresh()
            write("OK\r\nMPY: soft reboot\r\n" + RAW)
        elif is_raw and character == CTRL_D:
            run(code, names)
            code = ""
        elif is_raw and character == CTRL_E and not code:
            sys.stdin.read(2)  # "A" and Ctrl-A: raw paste
            write("R\x00")
        elif is_raw and not (code == "" and character in "\r\n"):
            code += character


main()
