"""The native CPU kernels: which path computes, what it allocates, and how it is called."""
