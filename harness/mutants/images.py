"""Mutants whose images go wrong on their way: other answers, requests, bills and words than Enterprise images have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from harness.contract import Limits, Model
from harness.gateway.asgi import Headers
from harness.gateway.call import Call, Endpoint
from harness.gateway.components import Components
from harness.gateway.errors import Refusal
from harness.gateway.governor import Governor, Windows
from harness.gateway.headers import HeaderWriter
from harness.gateway.insurer import Settlement
from harness.gateway.models import Catalogue
from harness.gateway.pipeline import Pipeline
from harness.gateway.relay import Answer
from harness.gateway.settlement import Bill, Settler
from harness.gateway.surfaces import Images
from harness.gateway.usage import Usage
from harness.gateway.windows import SlidingLog
from harness.mutants.registry import mutant
from harness.mutants.requests import changing
from harness.mutants.swaps import Json, answering

# IMG-01: the answer, and what of the request goes on.


def _as_url(image: Json) -> Json:
    rest = {name: value for name, value in image.items() if name != "b64_json"}
    return {**rest, "url": f"data:image/png;base64,{image.get('b64_json', '')}"}


@mutant(breaks="IMG-01")
def answers_the_images_alone(parts: Components) -> Components:
    """Leaves out of an images answer when it was made."""
    return answering(parts, Images, lambda answer: {name: value for name, value in answer.items() if name != "created"})


@mutant(breaks="IMG-01")
def returns_one_image_of_several(parts: Components) -> Components:
    """Passes on the first image alone, however many were made."""
    return answering(parts, Images, lambda answer: {**answer, "data": answer["data"][:1]})


@mutant(breaks="IMG-01")
def returns_the_images_backwards(parts: Components) -> Components:
    """Passes several images on in another order."""
    return answering(parts, Images, lambda answer: {**answer, "data": answer["data"][::-1]})


@mutant(breaks="IMG-01")
def answers_images_as_data_urls(parts: Components) -> Components:
    """Answers with URLs that hold the image, where the model answers in base64."""
    return answering(parts, Images, lambda answer: {**answer, "data": [_as_url(image) for image in answer["data"]]})


@mutant(breaks="IMG-01")
def keeps_base64_for_the_first_image(parts: Components) -> Components:
    """Answers every image but the first as a URL."""

    def mixed(answer: Json) -> Json:
        first, *others = answer["data"]
        return {**answer, "data": [first, *(_as_url(image) for image in others)]}

    return answering(parts, Images, mixed)


def _asking(parts: Components, change: Callable[[Json], Json]) -> Components:
    """Return a gateway that sends the body of an images call upstream as ``change`` makes it."""
    return changing(parts, lambda call, body: change(body) if call.surface.name == "images" else body)


@mutant(breaks="IMG-01")
def chooses_the_quality_itself(parts: Components) -> Components:
    """Leaves the quality of an image to the upstream, whatever was asked for."""
    return _asking(parts, lambda body: {name: value for name, value in body.items() if name != "quality"})


@mutant(breaks="IMG-01")
def makes_every_image_square(parts: Components) -> Components:
    """Asks for a square wherever another size was asked for."""
    return _asking(parts, lambda body: {**body, "size": "1024x1024"} if "size" in body else body)


@mutant(breaks="IMG-01")
def passes_on_two_references(parts: Components) -> Components:
    """Sends no more than two reference images upstream."""

    def fewer(body: Json) -> Json:
        references = body.get("reference_images")
        return {**body, "reference_images": references[:2]} if isinstance(references, list) else body

    return _asking(parts, fewer)


# What other requirements say of images.


def _lasting(parts: Components, ms: int) -> Components:
    """Return a gateway that lets a call of an image model run for so long."""

    class Other(Pipeline):
        def call_limit_ms(self, parts: Components, call: Call) -> int:
            is_image = call.model is not None and call.model.media == "image"
            return ms if is_image else super().call_limit_ms(parts, call)

    return replace(parts, pipeline=Other())


@mutant(breaks="FAIL-03")
def gives_images_the_time_of_text(parts: Components) -> Components:
    """Lets a call of an image model run as long as one of text."""
    return _lasting(parts, parts.contract.timeouts.text_call_ms)


@mutant(breaks="FAIL-03")
def gives_up_on_images_early(parts: Components) -> Components:
    """Ends a call of an image model when nine tenths of its time are over."""
    return _lasting(parts, parts.contract.timeouts.image_call_ms * 9 // 10)


@mutant(breaks="CHAT-03")
def names_the_size_of_every_image(parts: Components) -> Components:
    """Adds the usual size to an images body that leaves it to the upstream."""
    return _asking(parts, lambda body: {"size": "1024x1024", **body})


@mutant(breaks="CHAT-03")
def drops_unknown_fields_of_images(parts: Components) -> Components:
    """Sends of an images body what the documents name, and nothing else."""
    known = {"model", "prompt", "n", "size", "quality", "image", "reference_images"}
    return _asking(parts, lambda body: {name: value for name, value in body.items() if name in known})


@mutant(breaks="ERR-04")
def makes_images_with_any_image_model(parts: Components) -> Components:
    """Serves an image model of chat where images are made."""

    class Open(Catalogue):
        def find(self, endpoint: Endpoint, model_id: str) -> Model:
            known = self._models.get(("enterprise", model_id))
            if endpoint.surface == "images" and known is not None and known.media == "image":
                return known
            return super().find(endpoint, model_id)

    return replace(parts, catalogue=Open(parts.contract))


@mutant(breaks="ERR-04")
def finds_no_image_model_on_text_paths(parts: Components) -> Components:
    """Answers 404 to whoever asks for an image model where text is made."""

    class Blind(Catalogue):
        def find(self, endpoint: Endpoint, model_id: str) -> Model:
            try:
                return super().find(endpoint, model_id)
            except Refusal as refusal:
                known = self._models.get((endpoint.tier, model_id))
                if refusal.name == "wrong_endpoint" and known is not None and known.media == "image":
                    raise Refusal("not_found", refusal.message) from None
                raise

    return replace(parts, catalogue=Blind(parts.contract))


@mutant(breaks="GOV-01")
def tells_image_models_their_requests(parts: Components) -> Components:
    """Tells the limit of requests where that of images belongs."""

    class Alike(HeaderWriter):
        def governor(self, call: Call) -> Headers:
            seen = call.admitted
            if seen is None or seen.image_limit is None:
                return super().governor(call)
            told = [header for header in super().governor(call) if header[0] not in self._images]
            limit, remaining = self._requests
            return [*told, (limit, b"%d" % seen.rpm_limit), (remaining, b"%d" % seen.rpm_remaining)]

    return replace(parts, headers=Alike(parts.contract))


@mutant(breaks="GOV-01")
def tells_what_images_remain_without_their_limit(parts: Components) -> Components:
    """Tells how many images remain, and not of how many."""

    class Half(HeaderWriter):
        def governor(self, call: Call) -> Headers:
            return [header for header in super().governor(call) if header[0] != self._images[0]]

    return replace(parts, headers=Half(parts.contract))


@mutant(breaks="GOV-05")
def gives_image_models_the_tokens_of_text(parts: Components) -> Components:
    """Lets an image model use as many tokens as a text model."""

    class Generous(Governor):
        def _new_windows(self, limits: Limits) -> Windows:
            made = super()._new_windows(limits)
            made.tokens = SlidingLog(self._contract.text.tokens, limits.window_ms * 1000)
            return made

    return replace(parts, governor=Generous(parts.contract, parts.clock))


@mutant(breaks="GOV-05")
def counts_no_tokens_of_images(parts: Components) -> Components:
    """Settles a call that made images to no tokens: they are counted as images already."""

    class Either(Settler):
        def used_tokens(self, call: Call) -> int:
            return 0 if call.surface.name == "images" else super().used_tokens(call)

    return replace(parts, settler=Either(parts.contract))


def _telling(parts: Components, leave_out: str) -> Components:
    """Return a gateway whose images answers leave a part of the hypereal block out."""

    class Terse(Pipeline):
        def hypereal(self, call: Call, bill: Bill, settlement: Settlement | None) -> dict[str, Any] | None:
            made = super().hypereal(call, bill, settlement)
            if made is not None and call.surface.name == "images":
                del made[leave_out]
            return made

    return replace(parts, pipeline=Terse())


@mutant(breaks="BILL-03")
def tells_no_charge_of_images(parts: Components) -> Components:
    """Leaves billing out of the hypereal block of images answers."""
    return _telling(parts, "billing")


@mutant(breaks="INS-01")
def tells_no_insurance_of_images(parts: Components) -> Components:
    """Leaves insurance out of the hypereal block of images answers."""
    return _telling(parts, "insurance")


@mutant(breaks="BILL-09")
def bills_images_by_their_number(parts: Components) -> Components:
    """Charges four credits an image, as the general tier has a price for each."""

    class Flat(Settler):
        def cost(self, parts: Components, call: Call, usage: Usage) -> int:
            return 4 * call.images if call.surface.name == "images" else super().cost(parts, call, usage)

    return replace(parts, settler=Flat(parts.contract))


@mutant(breaks="BILL-09")
def bills_images_that_tell_no_usage(parts: Components) -> Components:
    """Charges what was held for an image whose answer tells no usage."""

    class Guessing(Settler):
        def usage(self, call: Call, answer: Answer) -> Usage | None:
            told = super().usage(call, answer)
            if told is None and call.surface.name == "images":
                return Usage(call.prompt_tokens, 0, 0, call.output_tokens)
            return told

    return replace(parts, settler=Guessing(parts.contract))
