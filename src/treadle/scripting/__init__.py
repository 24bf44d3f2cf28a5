"""Scripts in Starlark, each execution in a process that has nothing but its line to the host."""
