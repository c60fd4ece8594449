"""The plain peer: a bridge from MQTT to InfluxDB as people write it in an afternoon.

paho-mqtt receives with QoS 1, json reads, influxdb-client makes Points and writes them a thousand at
a time: by its own batching, which is its default way, or with --sync by collecting them in a list and
writing that, which takes less CPU. A message is one sample, or with --many a list of them. The bridge
checks nothing and keeps nothing.
"""

import argparse
import json
from datetime import UTC, datetime

import paho.mqtt.client as mqtt
from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS, WriteOptions
from paho.mqtt.enums import CallbackAPIVersion

BATCH = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--many", action="store_true")
    parser.add_argument("--sync", action="store_true")
    arguments = parser.parse_args()

    influx = InfluxDBClient(url=arguments.url, token="bench", org="bench")
    options = SYNCHRONOUS if arguments.sync else WriteOptions(batch_size=BATCH)
    write_api = influx.write_api(write_options=options)
    points: list[Point] = []

    def take(pen: str, sample: dict[str, float | int | bool]) -> None:
        point = (
            Point("depth")
            .tag("pen", pen)
            .field("depth_mm", sample["depth_mm"])
            .field("strokes", sample["strokes"])
            .field("contact", sample["contact"])
            .time(int(sample["t"]), WritePrecision.MS)
        )
        if not arguments.sync:
            write_api.write("bench", "bench", point, write_precision=WritePrecision.MS)
            return
        points.append(point)
        if len(points) >= BATCH:
            write_api.write("bench", "bench", points, write_precision=WritePrecision.MS)
            points.clear()

    def on_message(_client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        pen = message.topic.split("/")[1]
        found = json.loads(message.payload)
        if arguments.many:
            for sample in found:
                take(pen, sample)
        else:
            take(pen, found)

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bridge", clean_session=False)
    client.on_message = on_message
    client.on_connect = lambda c, *_: c.subscribe("pens/+/sample", qos=1)
    client.on_subscribe = lambda *_: print("ready", datetime.now(UTC).isoformat(), flush=True)
    client.connect("127.0.0.1", arguments.port)
    client.loop_forever()


if __name__ == "__main__":
    main()
