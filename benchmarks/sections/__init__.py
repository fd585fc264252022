"""What the pages show: a function a section, from rows to Markdown."""
