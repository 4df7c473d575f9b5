"""The page's end of the desk: one request, one call. Every answer is JSON, every error says what and what to do."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from infra.errors import InfraError
from infra.secrets import without_secrets
from tasks.judging.desk import Desk
from tasks.judging.records import PageRequest
from tasks.judging.sessions import Refusal

log = logging.getLogger("dpo.judge")
FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
Call = Callable[[PageRequest], BaseModel | None]


def routes_of(desk: Desk) -> list[BaseRoute]:
    """The page, and what it asks."""
    calls: dict[str, Call] = {
        "begin": desk.begin,
        "page": desk.page,
        "judge": desk.judge,
        "undo": desk.undo,
        "leave": desk.leave,
        "report": lambda _: desk.report(),
    }
    pages = [Route(path, _file(name, kind)) for path, (name, kind) in FILES.items()]
    return [*pages, *(Route(f"/api/{name}", partial(_answer, call), methods=["POST"]) for name, call in calls.items())]


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = (files("tasks.judging") / "page" / name).read_bytes()

    async def send(_: Request) -> Response:
        return Response(content, media_type=kind)

    return send


async def _answer(call: Call, request: Request) -> Response:
    """A call of the desk, in the one thread that there is: no two of them overlap."""
    try:
        done = call(PageRequest.model_validate_json(await request.body()))
    except Refusal as refused:
        return JSONResponse({"says": refused.says, "do": refused.do, "kind": refused.kind}, 409)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        says = f"{'.'.join(map(str, problem['loc'])) or 'the request'}: {problem['msg']}"
        return JSONResponse({"says": says, "do": "shorten it, or reload the page", "kind": ""}, 400)
    except InfraError as error:
        log.warning("not_saved says='%s' where=%s", error.says, error.where)
        says = without_secrets(f"{error.says} ({error.where})")
        return JSONResponse({"says": says, "do": error.do, "kind": ""}, 507)
    return JSONResponse(done.model_dump(mode="json") if done is not None else {})
