"""Completions over HTTP, by the interface of llama.cpp's server that editors speak (llama.vscode, llama.vim).

    GET  /health    {"status": "ok"}
    GET  /props     what is served
    POST /infill    {"input_prefix", "input_suffix", "prompt", "input_extra", "n_predict", ...} -> {"content", ...}

`input_prefix` and `input_suffix` stand before and behind the cursor; `prompt` is the text of the cursor's line up to
it, behind `input_prefix`. `input_extra`, chunks of other files, is put in front of the prefix.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from threading import Lock
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from omniform.errors import ConfigError, OmniformError
from omniform_codegen.filling import gap_prompt
from omniform_codegen.generation import Completion, Piece, Sampling, generate
from omniform_codegen.language import LanguageModel

__all__ = ["InfillRequest", "serve_language"]

_log = logging.getLogger(__name__)

_MOST_BYTES = 4_000_000
_MOST_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class InfillRequest:
    """What an editor asks for.

    Attributes:
        before, behind: the text on either side of the cursor.
        sampling: how tokens are drawn; `None` if none are wanted: editors ask so to warm caches up.
        seconds: after which the answer goes out as far as it is; 0 for no limit.
    """

    before: bytes
    behind: bytes
    sampling: Sampling | None
    seconds: float = 0.0

    @classmethod
    def parse(cls, body: bytes) -> InfillRequest:
        """Read a request; fields that only concern llama.cpp's own samplers and caches are left unread.

        Raises:
            ConfigError: it is no JSON object, or a field has the wrong type.
        """
        try:
            fields = json.loads(body)
        except ValueError as error:
            raise ConfigError(f"expected a JSON object, got something else ({error})") from None
        if not isinstance(fields, dict):
            raise ConfigError(f"expected a JSON object, got {type(fields).__name__}")
        extra = _field(fields, "input_extra", list, [])
        parts = [_chunk(chunk) for chunk in extra]
        parts += [_field(fields, "input_prefix", str, ""), _field(fields, "prompt", str, "")]
        wanted = _field(fields, "n_predict", int, 128)
        return cls(
            before="".join(parts).encode(),
            behind=_field(fields, "input_suffix", str, "").encode(),
            sampling=_sampling(fields, min(wanted, _MOST_TOKENS) if wanted > 0 else _MOST_TOKENS) if wanted else None,
            seconds=max(_number(fields, "t_max_predict_ms", 0.0), 0.0) / 1000,
        )


def serve_language(language: LanguageModel, *, hosts: tuple[str, ...] = ("127.0.0.1", "localhost")) -> Starlette:
    """Return the application; requests are answered one after another.

    Args:
        hosts: the names by which it may be called: a page in a browser cannot rebind another name to it.
    """
    one_at_a_time = Lock()

    def answer(request: InfillRequest) -> dict[str, Any]:
        with one_at_a_time:
            start = time.perf_counter()
            if request.sampling is None:
                return _told(Completion(b"", (), (), "length"), 0, 0.0)
            behind = request.behind if language.infills else b""
            prompt = gap_prompt(language, request.before, behind, room=request.sampling.max_tokens)
            told = _written(language, prompt, request.sampling, request.seconds)
            return _told(told, len(prompt), time.perf_counter() - start)

    async def infill(request: Request) -> Response:
        body = await request.body()
        if len(body) > _MOST_BYTES:
            return _refused(f"expected at most {_MOST_BYTES} bytes, got {len(body)}", 413)
        try:
            return JSONResponse(await run_in_threadpool(answer, InfillRequest.parse(body)))
        except OmniformError as error:
            return _refused(str(error), 400)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def props(request: Request) -> Response:
        return JSONResponse({"model": language.name, "n_ctx": language.context, "infill": language.infills})

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/props", props),
            Route("/infill", infill, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
    )


class _OutOfTimeError(Exception):
    """Raised between two tokens."""


def _written(language: LanguageModel, prompt: list[int], sampling: Sampling, seconds: float) -> Completion:
    """Return what is written within so many seconds; at least a token."""
    start = time.perf_counter()
    pieces: list[Piece] = []

    def watch(row: int, piece: Piece) -> None:
        pieces.append(piece)
        if seconds and time.perf_counter() - start > seconds:
            raise _OutOfTimeError

    try:
        return generate(language, [prompt], sampling, on_token=watch)[0]
    except _OutOfTimeError:
        text = b"".join(piece.text for piece in pieces)
        tokens, chances = zip(*((piece.token, piece.probability) for piece in pieces), strict=True)
        return Completion(text, tokens, chances, "length")


def _sampling(fields: dict[str, Any], max_tokens: int) -> Sampling:
    return Sampling(
        temperature=_number(fields, "temperature", 0.0),
        top_k=max(_field(fields, "top_k", int, 0), 0),
        top_p=_number(fields, "top_p", 1.0),
        repetition=_number(fields, "repeat_penalty", 1.0),
        max_tokens=max_tokens,
        stop=tuple(text.encode() for text in _texts(fields, "stop")),
        seed=max(_field(fields, "seed", int, 0), 0),
    )


def _told(completion: Completion, prompt: int, seconds: float) -> dict[str, Any]:
    """Return a completion as llama.cpp's server words it."""
    count = len(completion.tokens)
    return {
        "content": completion.text.decode(errors="replace"),
        "stop": True,
        "stop_type": {"end": "eos", "stop": "word", "length": "limit"}[completion.ended],
        "tokens_predicted": count,
        "tokens_evaluated": prompt,
        "completion_probabilities": [{"prob": chance} for chance in completion.probabilities],
        "timings": {
            "prompt_n": prompt,
            "predicted_n": count,
            "predicted_ms": 1000 * seconds,
            "predicted_per_second": count / seconds if seconds else 0.0,
        },
    }


def _refused(message: str, status: int) -> JSONResponse:
    """Return an error as llama.cpp's server words it."""
    return JSONResponse(
        {"error": {"code": status, "message": message, "type": "invalid_request_error"}}, status_code=status
    )


def _field(fields: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = fields.get(name, default)
    value = default if value is None else value
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"expected {name} to be of the type {kind.__name__}, got {value!r:.80}")
    return value


def _number(fields: dict[str, Any], name: str, default: float) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigError(f"expected {name} to be a number, got {value!r:.80}")
    return float(value)


def _texts(fields: dict[str, Any], name: str) -> list[str]:
    texts = _field(fields, name, list, [])
    if not all(isinstance(text, str) and text for text in texts):
        raise ConfigError(f"expected {name} to hold texts, got {texts!r:.80}")
    return texts


def _chunk(chunk: Any) -> str:
    text = chunk.get("text") if isinstance(chunk, dict) else None
    if not isinstance(text, str):
        raise ConfigError(f"expected input_extra to hold objects with a text, got {chunk!r:.80}")
    return text if text.endswith("\n") else text + "\n"
