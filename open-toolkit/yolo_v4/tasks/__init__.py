"""The subcommands, one module each; each has ``run(arguments)``."""
