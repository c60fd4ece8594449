"""The wiring table of device/README.md, read: so the pretended wires are those that a maker solders.

Rows are `| part | pin | ESP32-S3 | ESP32-C3 | Pico W, Pico 2 W | note |`; a cell begins with the GPIO's
number or is empty.
"""

# ruff: noqa: PTH123
# This file also runs on MicroPython, which lacks what this rule asks for.

HEAD = "| part | its pin | ESP32-S3 | ESP32-C3 | Pico W, Pico 2 W | note |"
COLUMNS = {"esp32_s3": 2, "esp32_c3": 3, "pico_w": 4, "pico_2_w": 4}
CHIPS = {"esp32_s3": "esp32_s3", "esp32_c3": "esp32_c3", "pico_w": "rp2", "pico_2_w": "rp2"}
NAMES = {
    ("AS5600", "SDA"): "dial_sda",
    ("AS5600", "SCL"): "dial_scl",
    ("INA219", "SDA"): "current_sda",
    ("INA219", "SCL"): "current_scl",
    ("PN532", "SDA"): "tags_sda",
    ("PN532", "SCL"): "tags_scl",
    ("PN532", "SCK"): "tags_sck",
    ("PN532", "MISO"): "tags_miso",
    ("PN532", "MOSI"): "tags_mosi",
    ("PN532", "SS"): "tags_select",
    ("tachometer", "output"): "tachometer",
    ("skin sensor", "output"): "skin",
    ("battery", "divider"): "battery",
    ("haptic driver", "input"): "haptic",
    ("NeoPixel", "DIN"): "pixel",
    ("button", "one side"): "button",
    ("motor driver", "enable"): "motor",
    ("charger", "STAT"): "charging",
}


def read(path, board):
    """GPIO numbers by name, of one board."""
    wires = {}
    is_table = False
    with open(path) as file:
        for text in file:
            line = text.rstrip()
            if line == HEAD:
                is_table = True
            elif is_table and line[:1] == "|" and line[:2] != "|-":
                cells = [cell.strip() for cell in line.strip("|").split("|")]
                number = cells[COLUMNS[board]].split(" ")[0]
                name = NAMES[(cells[0], cells[1])]
                if number:
                    assert name not in wires
                    wires[name] = int(number)
            elif is_table and line[:1] != "|":
                break
    assert len(wires) >= 13, "the table is not there"
    return wires
