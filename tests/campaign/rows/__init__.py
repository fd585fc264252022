"""One module a row of the table: each has `PARTS`, which the command finds by itself."""
