"""The running gateway: MQTT, files, settings, the rules in force. Decides nothing; asks `core`."""
