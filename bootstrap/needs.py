"""What the project needs from the machine, as data.

To need another program, write it here and name it in a profile. A program is known by its
executable, because a person may have installed it by other means than a package. `package` is its
name in Debian and Ubuntu. `services` are what that package would start; the set-up keeps them
off.
"""

from dataclasses import dataclass

Version = tuple[int, ...]

PYTHON_MINIMUM: Version = (3, 11)


@dataclass(frozen=True)
class Program:
    name: str
    title: str
    purpose: str
    minimum: Version
    package: str
    version_arguments: tuple[str, ...]
    services: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    programs: tuple[Program, ...]
    micropython: bool
    development: bool
    wasm: bool = False
    includes: tuple[str, ...] = ()


MOSQUITTO = Program(
    "mosquitto", "Mosquitto", "MQTT broker", (2, 0), "mosquitto", ("-h",), ("mosquitto",)
)
MOSQUITTO_SUB = Program(
    "mosquitto_sub",
    "mosquitto_sub",
    "asks a broker how it is",
    (2, 0),
    "mosquitto-clients",
    ("--help",),
)
INFLUXD = Program(
    "influxd", "InfluxDB", "time-series database", (1, 6), "influxdb", ("version",), ("influxdb",)
)
NGINX = Program("nginx", "nginx", "web server", (1, 18), "nginx", ("-v",), ("nginx",))

SYSTEMD_ANALYZE = Program(
    "systemd-analyze", "systemd-analyze", "checks units", (250,), "systemd", ("--version",)
)

MICROPYTHON = Program(
    "micropython",
    "MicroPython",
    "the pen's interpreter, Unix port",
    (1, 25),
    "micropython",
    ("-X", "heapsize=128k", "-c", "import sys; print('%d.%d.%d' % sys.implementation.version[:3])"),
)

NODE = Program(
    "node", "Node.js", "runs the pen's firmware with 32-bit words", (18,), "nodejs", ("--version",)
)
NPM = Program("npm", "npm", "fetches MicroPython for WebAssembly", (8,), "npm", ("--version",))

PROFILES: dict[str, Profile] = {
    "runtime": Profile((MOSQUITTO,), micropython=True, development=False),
    "check": Profile((), micropython=False, development=True),
    "test": Profile(
        (MOSQUITTO, MOSQUITTO_SUB, INFLUXD, NGINX, NODE, NPM, SYSTEMD_ANALYZE),
        micropython=True,
        development=True,
        wasm=True,
        includes=("runtime", "check"),
    ),
}

# Suites to unpack a program from, in the order in which they are tried.
SUITES: dict[str, dict[str, tuple[str, ...]]] = {
    "debian": {
        "micropython": ("trixie", "forky", "sid"),
        "influxdb": ("bookworm", "trixie"),
    },
    "ubuntu": {
        "micropython": ("resolute", "questing", "plucky"),
        "influxdb": ("noble", "jammy"),
    },
}
COMPONENTS: dict[str, tuple[str, ...]] = {"debian": ("main",), "ubuntu": ("main", "universe")}
