"""The commands, by what they are about; `studio.cli` puts them together."""
