"""The public calls, a module a topic; `import dse` has them all. Commands of the same names are in `dse.cli`."""
