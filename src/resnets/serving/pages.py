"""What people see: the page, its parts, and the page that says what can be asked."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources

from fastapi import FastAPI, Request, Response
from jinja2 import Environment, PackageLoader
from starlette.exceptions import HTTPException

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page runs its own script and asks its own server, nothing else."""

ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def add_pages(app: FastAPI) -> None:
    """Answer at /, /docs and what they show, by files of the package alone."""

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return _page(request, asset("page.html"), "text/html")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return _page(request, documentation(json.dumps(app.openapi())), "text/html")

    @app.get("/page/{name}", include_in_schema=False)
    async def page_part(name: str, request: Request) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        return _page(request, asset(name), ASSETS[name])


def _page(request: Request, content: str, kind: str) -> Response:
    """A file of the package, which browsers keep and ask for anew only if it has changed."""
    tag = f'"{hashlib.sha256(content.encode()).hexdigest()[:16]}"'
    headers = {"cache-control": "no-cache", "etag": tag, "content-security-policy": PAGE_POLICY}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=kind)


@cache
def asset(name: str) -> str:
    """A file of the page, from the package."""
    return (resources.files(__package__) / "page" / name).read_text(encoding="utf-8")


@cache
def documentation(schema: str) -> str:
    """The page that says what can be asked, from the schema in JSON."""
    loader = PackageLoader("resnets.serving", "page")
    template = Environment(loader=loader, autoescape=True, trim_blocks=True).get_template("docs.html")
    return template.render(schema=json.loads(schema))
