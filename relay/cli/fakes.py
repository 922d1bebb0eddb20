"""Running the fakes of the vendors' APIs, for trying things out without an account anywhere."""

import ipaddress
from typing import Annotated

import typer

from relay.cli.output import console, fail


def fakes(
    host: Annotated[
        str, typer.Option(help="Address to listen on; anybody who reaches it can read the mail.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")
    ] = 8025,
    webhook: Annotated[
        list[str] | None,
        typer.Option(
            help="VENDOR=URL: where that vendor posts what becomes of its mail; can be given several times."
        ),
    ] = None,
    copies: Annotated[int, typer.Option(min=1, max=100, help="How many times each event is posted.")] = 1,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Post events in any order.")] = False,
    delay: Annotated[float, typer.Option(min=0, help="Seconds before each post.")] = 0,
) -> None:
    """Run fakes of Postmark, SES, SendGrid and the others: mail goes into memory and nowhere else.

    Give a provider the printed base_url and the key "fake-key". Recipients such as refused@, busy@, throttled@,
    suspended@ and timeout-after-accept@ get what they are called. GET /mails lists what came.

    With --webhook the fakes post signed events like the vendors: delivered@ and any other, deferred@, bounce-hard@,
    bounce-soft@, bounce-block@, bounce-late@, dropped@, complaint@, open@, click@ and unsubscribe@. GET /webhooks
    shows the options of a provider that believes them.
    """
    import socket

    import uvicorn

    from providers.fakes import Fakes, Hook, Order, hook_of
    from relay.core.errors import Misconfigured

    order = Order.SHUFFLED if shuffle else Order.HAPPENED
    hooks: dict[str, Hook] = {}
    for one in webhook or ():
        name, _, url = one.partition("=")
        try:
            hooks[name] = hook_of({"url": url, "copies": copies, "order": order, "delay": delay})
        except (ValueError, Misconfigured) as error:
            fail(f"--webhook {name}: {error}")
    app = Fakes(hooks)
    if unknown := sorted(set(hooks) - set(app.vendors)):
        fail(f"there is no fake of {', '.join(unknown)}; there are {', '.join(app.vendors)}")
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except (OSError, ValueError) as error:
        fail(f"{host}:{port} cannot be listened on: {error}")
    with listening:
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        base = f"http://{shown}:{listening.getsockname()[1]}"
        for name in app.vendors:
            console.print(f"{name:12} base_url = {base}/{name}", markup=False)
        console.print(f"webhooks     {base}/webhooks", markup=False)
        console.print(f"what came    {base}/mails", markup=False)
        config = uvicorn.Config(app, log_level="warning", ws="none", lifespan="on", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])
