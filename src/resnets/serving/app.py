"""The service: what can be asked, and how it is answered."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from resnets.serving.batching import QueueFullError
from resnets.serving.envelope import Envelope
from resnets.serving.fetching import Fetcher
from resnets.serving.guards import Keys, Rate
from resnets.serving.limits import Limits, RefusedError
from resnets.serving.metrics import CONTENT_TYPE, Metrics
from resnets.serving.models import Model, Models
from resnets.serving.places import with_masks

try:
    from fastapi import Depends, FastAPI, Query, Request, Response
    from fastapi.exceptions import RequestValidationError
    from fastapi.routing import APIRoute
    from pydantic import ValidationError
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    from resnets.serving import schemas
    from resnets.serving.intake import Intake, first_of
    from resnets.serving.pages import add_pages
except ImportError as error:
    raise ImportError("serving needs fastapi, uvicorn and more: pip install 'resnets[serve]'") from error

T = TypeVar("T")

BODIES = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"pictures": {"type": "array", "items": {"type": "string", "format": "binary"}}},
        }
    },
    "application/json": {"schema": {"$ref": "#/components/schemas/Asked"}},
    "image/*": {"schema": {"type": "string", "format": "binary"}},
}
"""The three forms in which pictures are taken; the field of a form may have any name."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": schemas.Problem, "description": "The request cannot be understood"},
    401: {"model": schemas.Problem, "description": "No key, or an unknown one"},
    403: {"model": schemas.Problem, "description": "Another site's page asks by a visitor's browser"},
    404: {"model": schemas.Problem, "description": "There is no such model, or it has no explanations"},
    408: {"model": schemas.Problem, "description": "The request took too long to arrive"},
    413: {"model": schemas.Problem, "description": "More bytes or pictures than are taken"},
    415: {"model": schemas.Problem, "description": "The body is in none of the forms that are taken"},
    422: {"model": schemas.Problem, "description": "No picture can be read"},
    429: {"model": schemas.Problem, "description": "More requests than a client may make; see Retry-After"},
    503: {"model": schemas.Problem, "description": "More work than there is room for; see Retry-After"},
}


def create_app(
    models: Models,
    limits: Limits,
    metrics: Metrics,
    *,
    keys: Keys | None = None,
    hosts: Sequence[str] = (),
    look_every: float = 2.0,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        models: that answer; closed when the application ends.
        limits: of requests.
        metrics: that `models` keeps up, too.
        keys: of which clients must show one; without any, everybody may ask.
        hosts: from which pictures are fetched; see `Fetcher`.
        look_every: seconds between two looks whether a run has changed; 0 for never.

    Raises:
        ValueError: for a host that is not written as one.
    """
    intake = Intake(limits, Fetcher(hosts, limits.seconds), metrics)
    rate = Rate(limits.rate)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(models.watch(look_every)) if look_every else None
        yield
        if watching:
            watching.cancel()
        await models.close()

    async def admit(request: Request) -> None:
        """Let in whoever may ask."""
        client = request.client.host if request.client else "unknown"
        if keys is not None:
            scheme, _, shown = request.headers.get("authorization", "").partition(" ")
            number = keys.find(shown.strip()) if scheme.lower() == "bearer" else None
            if number is None:
                raise RefusedError(401, "show a key that this server knows: Authorization: Bearer KEY")
            client = f"key {number + 1}"
            request.state.fields["key"] = number + 1
        if wait := rate.wait(client, time.monotonic()):
            raise RefusedError(429, f"a client may make {limits.rate:g} requests a second", wait)
        if request.headers.get("sec-fetch-site") == "cross-site":
            raise RefusedError(403, "pages of other sites may not ask this server")

    def find(name: str | None, request: Request) -> Model:
        try:
            model = models.find(name)
        except KeyError:
            raise RefusedError(404, f"there is no such model; there is {', '.join(m.name for m in models)}") from None
        request.state.fields.update(model=model.name, version=model.version)
        return model

    async def in_time(answer: Awaitable[T]) -> T:
        """What is waited for, for as long as the limits say."""
        try:
            async with asyncio.timeout(limits.seconds):
                return await answer
        except QueueFullError as full:
            raise RefusedError(503, "the queue is full", full.retry_after) from None
        except TimeoutError:
            raise RefusedError(503, f"there was no answer within {limits.seconds:g} s", 1.0) from None

    app = FastAPI(
        title="resnets",
        summary="Trained networks that answer pictures.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    checked = [Depends(admit)]

    async def predict(request: Request) -> Response:
        """The answers for one or several pictures. One that cannot be read gets an error; the others are answered."""
        await admit(request)
        try:
            wanted = schemas.Wanted.model_validate(dict(request.query_params))
        except ValidationError as error:
            raise RefusedError(400, first_of(error)) from None
        find(wanted.model, request)  # before the pictures are waited for...
        async with intake.pictures(request) as pictures:
            chosen = find(wanted.model, request)  # ...and again, as the run may have changed meanwhile
            request.state.fields["pictures"] = len(pictures)
            predictions = await in_time(chosen.predictions(pictures, wanted.top, wanted.masks))
        unreadable = [prediction for prediction in predictions if prediction.error is not None]
        metrics.pictures.labels(chosen.name, "answered").inc(len(predictions) - len(unreadable))
        metrics.pictures.labels(chosen.name, "unreadable").inc(len(unreadable))
        if len(unreadable) == len(predictions):
            raise RefusedError(422, f"{unreadable[0].name}: {unreadable[0].error}")
        if wanted.masks:
            classes = chosen.predictor.card.classes
            answers = await asyncio.to_thread(lambda: [with_masks(each, classes) for each in predictions])
        else:
            answers = [prediction.to_dict() for prediction in predictions]
        return _json({"model": chosen.name, "version": chosen.version, "predictions": answers})

    app.router.add_api_route(
        "/v1/predict",
        predict,
        methods=["POST"],
        route_class_override=BareRoute,
        responses=PROBLEMS | {200: {"model": schemas.Answers}},
        openapi_extra={
            "parameters": schemas.parameters(schemas.Wanted),
            "requestBody": {"required": True, "content": BODIES},
        },
    )

    @app.get("/v1/models", dependencies=checked, responses={200: {"model": schemas.Models}, 401: PROBLEMS[401]})
    async def list_models() -> Response:
        """The runs that answer, and what a request may hold."""
        bounds = {"body_mb": limits.body_mb, "megapixels": limits.megapixels, "pictures": limits.pictures}
        facts = [model.facts() for model in models]
        return _json({"models": facts, "limits": bounds})

    @app.post(
        "/v1/explain",
        dependencies=checked,
        responses=PROBLEMS | {200: {"model": schemas.Explained}},
        openapi_extra={"requestBody": {"required": True, "content": BODIES}},
    )
    async def explain(request: Request, wanted: Annotated[schemas.Why, Query()]) -> Response:
        """Why one picture is answered as it is: a heat map, and what each block adds. Answers of some runs have no
        explanation, as /v1/models tells.
        """
        find(wanted.model, request)
        async with intake.pictures(request) as pictures:
            if len(pictures) > 1:
                raise RefusedError(413, "one picture is explained at a time")
            chosen = find(wanted.model, request)
            try:
                why = await in_time(chosen.explanation(pictures[0][1], wanted.target))
            except ValueError as error:
                raise RefusedError(422, str(error)) from None
        return _json({"model": chosen.name, "version": chosen.version, **why})

    @app.get("/healthz")
    async def health() -> Response:
        """The server runs."""
        return _json({"status": "ok"})

    @app.get("/readyz", responses={503: PROBLEMS[503]})
    async def readiness() -> Response:
        """There is room for another picture."""
        for model in models:
            if model.batcher.taken >= model.batcher.queue:
                raise RefusedError(503, f"the queue of {model.name} is full", 1.0)
        return _json({"status": "ready"})

    @app.get("/metrics", dependencies=checked, responses={200: {"content": {"text/plain": {}}}, 401: PROBLEMS[401]})
    async def prometheus() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, refusal: RefusedError) -> Response:
        headers = {} if refusal.retry_after is None else {"retry-after": str(math.ceil(refusal.retry_after))}
        if refusal.status == 401:
            headers["www-authenticate"] = "Bearer"
        return _problem(request, refusal.status, refusal.reason, headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, problem: HTTPException) -> Response:
        reasons = {404: "there is nothing at this path; see /docs", 405: "this path is asked in another way; see /docs"}
        return _problem(request, problem.status_code, reasons.get(problem.status_code, str(problem.detail)))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, problem: RequestValidationError) -> Response:
        first = problem.errors()[0]
        return _problem(request, 400, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it; the number is the log's

    add_pages(app)
    without_bodies = app.openapi

    def with_bodies() -> dict[str, Any]:
        """FastAPI's schema, and in it the JSON of a request, which it does not read itself."""
        schema = without_bodies()
        asked = schemas.Asked.model_json_schema(ref_template="#/components/schemas/{model}")
        schema["components"]["schemas"] |= {**asked.pop("$defs"), "Asked": asked}
        return schema

    app.openapi = with_bodies  # type: ignore[method-assign]
    paths = [getattr(route, "path", "") for route in app.routes]
    app.add_middleware(Envelope, metrics=metrics, paths=paths)
    return app


class BareRoute(APIRoute):
    """A route that FastAPI describes, but that reads its request itself.

    To find a function's arguments takes FastAPI about a sixth of all time that a request costs besides its picture.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function, which takes a request and gives a response."""
        return self.endpoint


def _json(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in ASCII, which holds any text that a client sends."""
    return Response(json.dumps(content), status, headers, "application/json")


def _problem(request: Request, status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    request.state.fields["reason"] = reason
    return _json({"error": reason, "request_id": request.state.request_id}, status, headers)
