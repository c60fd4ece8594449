"""Everything together, on real parts: firmware, broker, gateway, InfluxDB."""
