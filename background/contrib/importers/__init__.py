"""What other schedulers have written down, as jobs: one module reads one of them, `carrying` makes the rows."""
