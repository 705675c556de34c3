"""``beam-zerobus gateway``: the gateway as a process, until a signal ends it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.gateway.gateway import Gateway
from beam_zerobus.gateway.loading import FLAGS, PREFIX, load_settings
from beam_zerobus.gateway.memory import keep_freed_memory
from beam_zerobus.options.flags import CommandParser
from beam_zerobus.options.signals import stop_at_signals, wait_for
from beam_zerobus.workspace.profile_flag import add_profile_flag

__all__ = ["run"]

_EPILOG = f"""
Each option may also be set in the file's table [gateway], or as an environment
variable such as {PREFIX}PORT. The token of the callers is read from
{PREFIX}TOKEN. Endpoint, workspace and credentials come from
ZEROBUS_ENDPOINT, DATABRICKS_HOST, DATABRICKS_CLIENT_ID and
DATABRICKS_CLIENT_SECRET, or from --profile.
"""
_NOT_ENDED = 3


def run(argv: Sequence[str] | None = None) -> int:
    """Run the gateway until a signal ends it.

    Args:
        argv: The arguments; None means those of the process.

    Returns:
        0; 2 if a setting is wrong, with every fault on standard error; 3 if not everything ended in `stop_timeout`.
    """
    options = vars(_parser().parse_args(argv))
    file, token_env, profile = (options.pop(name) for name in ("config", "token_env", "profile"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    keep_freed_memory()
    stop = stop_at_signals()
    try:
        gateway = Gateway(load_settings(file, os.environ, options, token_env=token_env, profile=profile))
    except ConfigurationError as error:
        sys.stderr.write(f"beam-zerobus gateway: {error}\n")
        return 2
    health = "" if gateway.health_port is None else f", health at port {gateway.health_port}"
    sys.stdout.write(f"Gateway at {gateway.location}{health}\nStop with Ctrl-C.\n")
    sys.stdout.flush()
    wait_for(stop)
    if gateway.stop():
        return 0
    sys.stderr.write(
        "beam-zerobus gateway: some calls did not end in time; each batch with a result is written, the others may be: "
        "send these again\n"
    )
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(_NOT_ENDED)  # Arrow's server would wait for these calls without a limit


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="beam-zerobus gateway",
        description="Write the RecordBatches of Arrow Flight clients, in any language, to Zerobus.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="a TOML file")
    parser.add_argument(
        "--token-env", metavar="NAME", default=f"{PREFIX}TOKEN", help="variable with the callers' token (%(default)s)"
    )
    add_profile_flag(parser)
    for name, option in FLAGS.items():
        flag = f"--{name.replace('_', '-')}"
        default = "" if option.default is None or option.default is False else f" ({option.default})"
        text = f"{option.text}{default}".replace("%", "%%")
        if option.kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            parser.add_argument(flag, type=option.kind, default=None, metavar="VALUE", help=text)
    return parser
