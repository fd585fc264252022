"""The `zvae` command: one file per subcommand. Nothing is computed here. MLX is imported only where it is used."""
