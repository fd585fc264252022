"""One decode or encode: checked, planned and limited before it runs, reported afterwards."""
