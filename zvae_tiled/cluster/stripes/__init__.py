"""One picture by many workers, exact: each computes stripes of its rows."""
