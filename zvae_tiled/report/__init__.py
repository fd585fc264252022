"""Reports and progress of decodes, metrics of pictures, and figures of a machine."""
