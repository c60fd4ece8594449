"""The dashboards. A panel is a function; a row of functions is a row of panels."""
