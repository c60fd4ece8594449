"""The time series in InfluxDB: written from the ledger, checked against it, made again from it."""
