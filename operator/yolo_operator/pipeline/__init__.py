"""Pure decisions: what an experiment's stages are, what each runs, and what to do next. No I/O, no clock."""
