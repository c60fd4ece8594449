"""Grafana dashboards and alert rules as code: queries apart from panels, a panel is a function."""
