"""Own the host in the lifespan of an ASGI server: started before the first request, stopped after the last one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from background.exceptions import BackgroundError

if TYPE_CHECKING:
    from background.web.inside import HostInside, OnePer

logger = logging.getLogger("background.web")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def with_background(
    app: Application, *, one_per: OnePer = "process", services: Sequence[str] | None = None, **options: Any
) -> Application:
    """Return an ASGI application that hosts background services while its server runs.

    `one_per="machine"`: of the server's processes one hosts, and another takes over when it is gone. `services`: names,
    all by default. `options`: fields of `background.host.Options`, such as `queues` and `concurrency`. The server must
    know ASGI's lifespan (uvicorn, hypercorn, granian); a host that cannot start keeps it from starting.
    """
    from background.web.inside import HostInside  # noqa: PLC0415 - an asgi.py imports this module before the apps are loaded

    async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _Lifespan(app, HostInside(one_per, services, **options)).run(scope, receive, send)
        else:
            await app(scope, receive, send)

    return application


class _Lifespan:
    """One life of a server: the inner application's startup, the host's, and both backwards at the end."""

    def __init__(self, app: Application, inside: HostInside) -> None:
        self._app = app
        self._inside = inside
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()

    async def run(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        inner = asyncio.ensure_future(self._app(scope, self._to_app.get, self._from_app.put))
        answer = await self._ask(inner, await receive())
        if answer["type"] == "lifespan.startup.complete":
            try:
                await asyncio.to_thread(self._inside.start)
            except BackgroundError as error:
                answer = {"type": "lifespan.startup.failed", "message": str(error)}
        await send(answer)
        if answer["type"] == "lifespan.startup.complete":
            end = await receive()
            await asyncio.to_thread(self._inside.stop)
            await send(await self._ask(inner, end))
        inner.cancel()

    async def _ask(self, inner: asyncio.Future[Any], message: Message) -> Message:
        """Return the inner application's answer. One without a lifespan, as Django's, says so by an exception: all is well."""
        self._to_app.put_nowait(message)
        answer: asyncio.Future[Any] = asyncio.ensure_future(self._from_app.get())
        await asyncio.wait([inner, answer], return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        logger.debug("the application has no lifespan of its own: %r", inner.exception())
        return {"type": f"{message['type']}.complete"}
