"""The flag for the settings of IPVS, which the daemon and the tool share."""

import click

from clusterf.reconcile.sysctls import parse_sysctls

__all__ = ["sysctls_of"]


def sysctls_of(ctx: click.Context, param: click.Parameter, text: str) -> tuple[tuple[str, int], ...]:
    """Return the settings of IPVS that a flag asks for, as pairs. Raises click.BadParameter."""
    try:
        return tuple(parse_sysctls(text).items())
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
