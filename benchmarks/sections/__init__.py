"""The sections of the pages: one function per section turns rows into Markdown."""
