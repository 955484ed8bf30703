"""What the subcommands of `relif` do, a module each."""
