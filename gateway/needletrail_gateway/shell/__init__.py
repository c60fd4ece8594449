"""The gateway's hands: MQTT, the ledger, InfluxDB, files. Decides nothing; asks `core`."""
