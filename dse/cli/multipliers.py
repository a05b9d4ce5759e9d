"""Commands about multipliers: `dse multipliers list`, `show` and `check`."""

from pathlib import Path
from typing import Annotated

import typer

from dse.cli.options import Format, FormatOption
from dse.reporting.terminal.multipliers import print_checks, print_library, print_multiplier

app = typer.Typer(no_args_is_help=True, help="List, show and check multipliers.")

LibraryOption = Annotated[str, typer.Option(help="`builtin`, a table file, or a folder of them.", metavar="PATH")]
SignedOption = Annotated[bool | None, typer.Option("--signed/--unsigned", help="Only these.", show_default=False)]
CompileOption = Annotated[bool, typer.Option("--compile-c", help="Compile and run C sources; only those you trust.")]


@app.command("list")
def list_multipliers(
    library: LibraryOption = "builtin",
    signed: SignedOption = None,
    compile_c: CompileOption = False,
    output_format: FormatOption = Format.table,
) -> None:
    """List the multipliers of a library with cost and error metrics.

    For example `dse multipliers list --library evoapprox/ --unsigned --format csv`.
    """
    from dse.multipliers.library import load_library

    print_library(load_library(library, is_signed=signed, allow_compile=compile_c), output_format)


@app.command("show")
def show_multiplier(
    name: Annotated[str, typer.Argument(help="Name or alias.", metavar="NAME")],
    library: LibraryOption = "builtin",
    compile_c: CompileOption = False,
    output_format: FormatOption = Format.table,
) -> None:
    """Show everything known about one multiplier.

    For example `dse multipliers show exact`.
    """
    from dse.multipliers.library import load_library

    loaded = load_library(library, allow_compile=compile_c)
    print_multiplier(loaded, name, output_format)


@app.command("check")
def check_multipliers(
    path: Annotated[Path, typer.Argument(help="A table file or a folder of them.", metavar="FILE")],
    signed: SignedOption = None,
    compile_c: CompileOption = False,
    output_format: FormatOption = Format.table,
) -> None:
    """Check tables for traps: products of zero, swapped operands, zero power, metadata that disagrees.

    For example `dse multipliers check mul8u_2AC.bin`.
    """
    from dse.multipliers.library import load_library

    print_checks(load_library(path, is_signed=signed, allow_compile=compile_c), output_format)
