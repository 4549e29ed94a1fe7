"""The published ceilings of image models, reached exactly, and gone beyond by one image; it sends nothing."""

from __future__ import annotations

from dataclasses import replace

from harness.checkers.image_windows import image_windows_hold
from harness.checkers.load_ceilings import (
    each_call_reaches_one_upstream_once,
    the_images_are_held,
    the_rate_is_held,
    the_tokens_are_held,
)
from harness.checkers.rates import request_windows_hold
from harness.contract import Contract
from harness.load.shape import Asked, Load, shape
from harness.load.shapes.filled import Amount, Kind, windows
from harness.load.shapes.parts import HEADERS, MONEY, image_call
from harness.load.sizes import image_model, reserved_for_image, sized_image

A_CALL = 2
"""Images that a call of the probe's window asks for, so that its requests are not what is used up."""
EXACT = (each_call_reaches_one_upstream_once, *HEADERS, *MONEY)
IMAGE = Kind(
    limits=lambda contract: contract.limits(image_model(contract)),
    sized=sized_image,
    call=image_call,
    small=reserved_for_image,
    proof=(the_images_are_held, the_rate_is_held, the_tokens_are_held, request_windows_hold, *EXACT),
)
PROBED = replace(IMAGE, proof=(the_images_are_held, image_windows_hold, *EXACT))
"""Of requests and tokens there are enough left: their windows are not what a probe of images judges."""


@shape
def ceiling_image(contract: Contract, asked: Asked) -> Load:
    """Exactly the published images and exactly the published tokens of an image model in one window, none refused."""
    limits = IMAGE.limits(contract)
    images = _images(contract)
    return windows(contract, asked, IMAGE, Amount(min(images, limits.requests), limits.tokens, images=images))


@shape
def probe_image(contract: Contract, asked: Asked) -> Load:
    """Exactly the published images, two a call, with tokens to spare, and then one more, which must be refused."""
    images = _images(contract)
    tokens = IMAGE.limits(contract).tokens // 2
    return windows(contract, asked, PROBED, Amount(-(-images // A_CALL), tokens, over="images", images=images))


def _images(contract: Contract) -> int:
    """Return how many images a window has room for. Raises ValueError if the contract does not say."""
    images = IMAGE.limits(contract).images
    if images is None:
        raise ValueError("the contract has no limit of images: there is no ceiling to reach")
    return images
