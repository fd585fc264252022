"""The `zvae` command. Each subcommand has a file; nothing here computes, and MLX is imported where it is used."""
