"""An app served on this machine alone: loopback address, a token, and headers that let no text become a program.

Whoever can reach the port still needs the token; a page of another origin can neither read an answer nor have one
made, as the token travels in a header that such a page may not set. Other names for this machine are refused, so that
no foreign name can be pointed at it (DNS rebinding).
"""

import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from infra.errors import BadSetting

HOST = "127.0.0.1"
HOSTS = [HOST, "localhost"]
TOKEN = "X-Token"
BODY_LIMIT = 1 << 20  # bytes of a request
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Guard:
    """What a request needs. `token`: in the header X-Token of everything below /api/; empty: nothing."""

    token: str

    async def __call__(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Refuse, or hand on; headers on whatever comes back."""
        answer = self._refused(request) or await call_next(request)
        for name, value in HEADERS.items():
            answer.headers[name] = value
        return answer

    def _refused(self, request: Request) -> Response | None:
        if not request.url.path.startswith("/api/"):
            return None
        given = request.headers.get(TOKEN)
        if given is None or (self.token and not secrets.compare_digest(given.encode(), self.token.encode())):
            says = "this address is of an earlier start, or lacks its end"
            return JSONResponse({"says": says, "do": "open the whole address that `dpo judge` printed"}, 401)
        if int(request.headers.get("Content-Length") or 0) > BODY_LIMIT:
            return JSONResponse({"says": "the text is too long", "do": "shorten it"}, 413)
        return None


def guarded(routes: list[BaseRoute], token: str) -> Starlette:
    """The app behind its guard."""
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)
    return Starlette(routes=routes, middleware=[hosts, Middleware(BaseHTTPMiddleware, dispatch=Guard(token))])


def new_token() -> str:
    """128 bits, fit for an address."""
    return secrets.token_urlsafe(16)


def address(port: int, token: str) -> str:
    """What people open. The token stands behind #, which no browser sends or logs."""
    return f"http://{HOST}:{port}/{f'#{token}' if token else ''}"


@contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A socket on loopback; 0: a port that is free. Raises BadSetting where the port is taken."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            says = f"the port cannot be used: {error.strerror or error}"
            raise BadSetting(says, where=f"{HOST}:{port}", do="leave --port out: a free one is taken") from None
        listener.listen(128)
        yield listener


def serve_app(app: Starlette, listener: socket.socket) -> None:
    """Answer until the process is told to end (Ctrl-C), which raises KeyboardInterrupt."""
    import uvicorn

    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])
