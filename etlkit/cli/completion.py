"""`etlkit completion SHELL`: the script that makes a shell complete etlkit's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from etlkit.cli.options import CONTEXT


@click.command(context_settings=CONTEXT)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete commands and options of etlkit.

    \b
    bash: add to ~/.bashrc    eval "$(etlkit completion bash)"
    zsh:  add to ~/.zshrc     eval "$(etlkit completion zsh)"
    fish: run once            etlkit completion fish > ~/.config/fish/completions/etlkit.fish
    """  # noqa: D301 - \b keeps click from wrapping these lines
    from etlkit.cli.root import command as root

    complete = get_completion_class(shell)
    if complete is None:
        raise click.UsageError(f"click has no completion for {shell}")
    click.echo(complete(root, {}, "etlkit", "_ETLKIT_COMPLETE").source())
