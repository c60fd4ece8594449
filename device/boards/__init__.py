"""One small module a board. README.md says what a board offers; `virtual` plays a tape."""
